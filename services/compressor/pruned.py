"""The stage `prune`: which weights go, by what score, in what shape; pure."""

from collections.abc import Mapping

import numpy as np

from services.compressor import pipeline
from shared.contracts.v1.recipes import Prune
from shared.network import chains, rewrites
from shared.network.graph import Network
from shared.network.training import backward, scoring
from shared.operators.spec import Run
from shared.pruning import masks, scores, shares
from shared.pruning.masks import Mask
from shared.quantization.observers import Observed
from shared.sparse import compressed, convert, nm
from shared.tensors.dtypes import F32, Array
from shared.tensors.layouts import Layout, Tensor

Weights = Mapping[str, F32]  # by step name


def apply(stage: Prune, network: Network, scored: Weights) -> Network:
    """The network without the weights of least score.

    Args:
        scored: by step name, a score of the shape of each layer that may be pruned.

    Raises:
        ValueError: no layer may be pruned, or rows of one cannot go; says why.
    """
    weights = layers(network, stage)
    if stage.granularity == "row":
        return chains.without_rows(network, _rows(stage, network, scored))
    kept = _kept(stage, scored)
    made = {name: _stored(stage, masks.apply(weights[name], kept[name])) for name in weights}
    return rewrites.with_weights(network, made)


def layers(network: Network, stage: Prune) -> dict[str, F32]:
    """Dense weights with enough outputs, by step name.

    Raises:
        ValueError: there is none.
    """
    every = pipeline.dense_weights(network)
    found = {name: weight for name, weight in every.items() if len(weight) >= stage.min_rows}
    if stage.granularity == "row":
        firsts = {first.name for first, _ in chains.pairs(network)}
        found = {name: weight for name, weight in found.items() if name in firsts}
    if not any(weight.size for weight in found.values()):
        raise ValueError(
            f"nothing to prune: no dense layer has {stage.min_rows} outputs"
            + (" that one other dense layer alone reads" if stage.granularity == "row" else "")
        )
    return found


def score(stage: Prune, weights: Weights, seen: Mapping[str, Observed], slopes: Weights) -> Weights:
    """How much each weight matters.

    Args:
        seen: by step name, for wanda.
        slopes: by step name, of the loss over training rows, for gradient and snip.
    """
    match stage.score:
        case "wanda":
            return {name: scores.wanda(w, _norms(seen[name])) for name, w in weights.items()}
        case "gradient":
            return {name: scores.gradient(w, slopes[name]) for name, w in weights.items()}
        case "snip":
            return {name: scores.snip(w, slopes[name]) for name, w in weights.items()}
        case "magnitude":
            return {name: scores.magnitude(w) for name, w in weights.items()}


def slopes(network: Network, names: list[str], x: Array, labels: Array, run: Run) -> dict[str, F32]:
    """Slopes of the mean cross entropy with respect to the weights of some steps.

    Raises:
        ValueError: labels do not fit the scores, or a step has no gradient.
    """
    found = scoring.forward(network, x, labels, "cross_entropy", run)
    known = rewrites.products(network)
    wanted = {known[name].inputs["weight"]: name for name in names}
    slopes = backward.gradients(found.taped, found.outer, frozenset(wanted), run)
    return {wanted[weight]: tensor.values.view(np.float32) for weight, tensor in slopes.items()}


def _norms(seen: Observed) -> F32:
    if seen.gram is None:
        raise ValueError(f"wanda needs second moments of {seen.largest.size} inputs; too many")
    return np.sqrt(np.maximum(np.diag(seen.gram), 0)).astype(np.float32)


def _kept(stage: Prune, scored: Weights) -> dict[str, Mask]:
    if stage.granularity == "nm":
        return {name: masks.n_of_m(s, n=stage.n, m=stage.m) for name, s in scored.items()}
    if stage.granularity == "block":
        return {name: _blocks(s, stage) for name, s in scored.items()}
    if stage.scope == "global":
        total = sum(s.size for s in scored.values())
        return masks.magnitude_across(scored, masks.budget(total, stage.sparsity))
    shapes = {name: s.shape for name, s in scored.items()}
    budgets = shares.budgets(shapes, stage.sparsity, stage.scope)
    return {name: masks.magnitude(s, budgets[name]) for name, s in scored.items()}


def _blocks(scored: F32, stage: Prune) -> Mask:
    side = stage.block
    there = -(-scored.shape[0] // side) * -(-scored.shape[1] // side)
    kept = masks.budget(there, stage.sparsity)
    return masks.blocks(scored, kept, height=side, width=side)


def _rows(stage: Prune, network: Network, scored: Weights) -> dict[str, Mask]:
    found = {}
    for name in layers(network, stage):
        rows = len(scored[name])
        kept = max(masks.budget(rows, stage.sparsity), 1)
        found[name] = masks.rows(scored[name], kept)[:, 0]
    return found


def _stored(stage: Prune, weight: F32) -> Tensor:
    """What training and trials of layouts start from: the pattern that was asked for."""
    made = compressed.to_tensor(compressed.compress(weight))
    if stage.granularity == "block":
        return convert.to_layout(made, Layout.BLOCK, block=(stage.block, stage.block))
    if stage.granularity == "nm":
        return nm.pack(compressed.from_tensor(made), pattern=(stage.n, stage.m))
    return made
