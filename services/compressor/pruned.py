"""The stage `prune`: which weights go, by what score, in what shape; pure."""

from collections.abc import Mapping

import numpy as np

from services.compressor import pipeline
from shared.contracts.v1.recipes import Prune
from shared.network import removal, rewrites
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
        return removal.without_rows(network, _rows(stage, network, scored))
    kept = _kept(stage, scored)
    made = {name: _stored(stage, masks.apply(weights[name], kept[name])) for name in weights}
    return rewrites.with_weights(network, made)


def layers(network: Network, stage: Prune) -> dict[str, F32]:
    """Dense weights with enough outputs, by step name; for rows, those that rows may leave.

    Raises:
        ValueError: there is none; says why.
    """
    every = pipeline.dense_weights(network)
    found = {name: weight for name, weight in every.items() if len(weight) >= stage.min_rows}
    whole = left(network, stage)
    found = {name: weight for name, weight in found.items() if name not in whole}
    if not any(weight.size for weight in found.values()):
        told = "; ".join(f"{name}: {why}" for name, why in whole.items())
        raise ValueError(
            f"nothing to prune: no dense layer has {stage.min_rows} outputs"
            + (f" that may leave ({told})" if told else "")
        )
    return found


def left(network: Network, stage: Prune) -> dict[str, str]:
    """Why rows of some layers cannot leave, by step name; empty for other granularities."""
    if stage.granularity != "row":
        return {}
    return {
        name: group.blocked
        for group in removal.groups(network)
        if group.blocked
        for name in group.layers
    }


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
    if stage.granularity == "element":
        return _chosen(stage, scored, {name: s.shape for name, s in scored.items()})
    side = stage.block
    means = {name: masks.of_blocks(s, height=side, width=side) for name, s in scored.items()}
    chosen = _chosen(stage, means, {name: s.shape for name, s in scored.items()})
    return {
        name: masks.whole_blocks(mask, _matrix(scored[name]), height=side, width=side)
        for name, mask in chosen.items()
    }


def _rows(stage: Prune, network: Network, scored: Weights) -> dict[str, Mask]:
    """By the first layer of each group, which rows stay; at least one, the best."""
    found = {group.layers[0]: group.layers for group in removal.groups(network)}
    found = {name: those for name, those in found.items() if set(those) <= scored.keys()}
    means = {name: masks.of_rows([scored[one] for one in those]) for name, those in found.items()}
    for mean in means.values():
        mean[np.argmax(mean)] = np.inf
    return _chosen(stage, means, {name: scored[name].shape for name in found}, least=1)


def _chosen(
    stage: Prune, scored: Weights, shapes: Mapping[str, tuple[int, ...]], *, least: int = 0
) -> dict[str, Mask]:
    """Which weights, blocks or rows stay: the exact share of all, by the stage's scope.

    Args:
        scored: by layer, a score for each of them.
        shapes: by layer, of the weight.
        least: how many stay of each layer.
    """
    if stage.scope == "global":
        total = masks.budget(sum(s.size for s in scored.values()), stage.sparsity)
        return masks.magnitude_across(scored, max(total, least * len(scored)))
    units = {name: s.size for name, s in scored.items()}
    budgets = shares.budgets(shapes, stage.sparsity, stage.scope, units)
    return {name: masks.magnitude(s, max(budgets[name], least)) for name, s in scored.items()}


def _matrix(array: F32) -> tuple[int, int]:
    rows, cols = array.shape
    return rows, cols


def _stored(stage: Prune, weight: F32) -> Tensor:
    """What training and trials of layouts start from: the pattern that was asked for."""
    made = compressed.to_tensor(compressed.compress(weight))
    if stage.granularity == "block":
        return convert.to_layout(made, Layout.BLOCK, block=(stage.block, stage.block))
    if stage.granularity == "nm":
        return nm.pack(compressed.from_tensor(made), pattern=(stage.n, stage.m))
    return made
