"""Make a smaller network of a trained one; pure, every decision told layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from shared.network import rewrites, shapes
from shared.network.graph import Network
from shared.pruning import masks
from shared.quantization import affine
from shared.quantization.scheme import INT8_PER_CHANNEL
from shared.sparse import compressed
from shared.sparse.choose import Choice
from shared.sparse.trials import Trial
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Layout, Tensor

DENSE = "gemm_f32"
MIN_ROWS = 32  # outputs; pruning a smaller layer costs accuracy and frees next to nothing
Scope = Literal["global", "layer"]
Choices = Mapping[str, Choice]  # by step name


@dataclass(frozen=True, slots=True)
class LayerChange:
    """What became of one dense layer."""

    step: str
    operator: str  # that runs it now
    bytes_before: int
    bytes_after: int
    sparsity: float  # share of zeros
    reason: str = ""  # why it was left as it is, or laid out so
    times: Mapping[str, float] = field(default_factory=dict)  # [s] of a product by candidate


@dataclass(frozen=True, slots=True)
class Candidate:
    """A smaller network, and what was done to each dense layer of the one it came from."""

    network: Network
    layers: tuple[LayerChange, ...]


def int8(network: Network) -> Candidate:
    """Store every dense weight as INT8 with one scale per output; activations stay float32.

    Raises:
        ValueError: the network has no dense layer.
    """
    weights = dense_weights(network)
    if not weights:
        raise ValueError("nothing to compress: the network has no dense layer")
    replaced = {step: affine.quantize(weight, INT8_PER_CHANNEL) for step, weight in weights.items()}
    return _rebuilt(network, replaced, {})


def prune_csr(network: Network, sparsity: float, *, scope: Scope = "global") -> Candidate:
    """Zero the weights of least magnitude and store what is left as CSR.

    Layers with few outputs stay dense, and so does a layer that keeps so many weights that CSR
    would be larger; the others then reach the sparsity together (global) or one by one (layer).

    Args:
        network: with dense layers.
        sparsity: share of zeros in the layers that are pruned, above 0 and below 1.
        scope: rank weights over all layers, or within each.

    Raises:
        ValueError: no layer is worth it; the message says why for each.
    """
    weights = dense_weights(network)
    left = _small(weights)
    while True:
        chosen = {step: weight for step, weight in weights.items() if step not in left}
        kept = _masks(chosen, sparsity, scope)
        kept = {step: mask & (chosen[step] != 0) for step, mask in kept.items()}
        larger = {step: why for step, mask in kept.items() if (why := _not_worth(mask))}
        if not larger:
            break
        left |= larger
    if not chosen:
        raise ValueError(_nothing(left))
    replaced = {
        step: compressed.to_tensor(compressed.compress(masks.apply(weight, kept[step])))
        for step, weight in chosen.items()
    }
    return _rebuilt(network, replaced, left)


@dataclass(frozen=True, slots=True, eq=False)
class Pruned:
    """Weights with their smallest elements zeroed, by step name, and why others were not."""

    weights: Mapping[str, F32]
    left: Mapping[str, str]


def prune(network: Network, sparsity: float) -> Pruned:
    """Zero the weights of least magnitude over all layers with enough outputs.

    Raises:
        ValueError: no layer has enough outputs; the message says so for each.
    """
    weights = dense_weights(network)
    left = _small(weights)
    chosen = {step: weight for step, weight in weights.items() if step not in left}
    if not any(weight.size for weight in chosen.values()):
        raise ValueError(_nothing(left))
    kept = _masks(chosen, sparsity, "global")
    zeroed = {step: masks.apply(weight, kept[step]) for step, weight in chosen.items()}
    return Pruned(zeroed, left)


def lay_out(
    network: Network, made: Mapping[str, Tensor], left: Mapping[str, str], choices: Choices
) -> Candidate:
    """Give layers their sparse weights.

    Args:
        made: by step name, the weight of a layer in a sparse layout.
        left: why others stay as they are.
        choices: what was tried, for every layer of `made`, and others.
    """
    rebuilt = _rebuilt(network, made, left)
    layers = tuple(_explained(layer, choices.get(layer.step)) for layer in rebuilt.layers)
    return replace(rebuilt, layers=layers)


def _explained(layer: LayerChange, choice: Choice | None) -> LayerChange:
    if choice is None:
        return layer
    times = {c.name: told.seconds for c, told in choice.measured.items() if isinstance(told, Trial)}
    return replace(layer, reason=choice.reason, times=times)


def _small(weights: Mapping[str, F32]) -> dict[str, str]:
    return {
        step: f"{weight.shape[0]} outputs, under {MIN_ROWS}: pruning it frees next to nothing"
        for step, weight in weights.items()
        if weight.shape[0] < MIN_ROWS
    }


def _nothing(left: Mapping[str, str]) -> str:
    why = "; ".join(f"{step}: {reason}" for step, reason in left.items())
    return f"nothing to compress: {why or 'the network has no dense layer'}"


def dense_weights(network: Network) -> dict[str, F32]:
    """By step name, the weight of every dense layer whose weight is stored dense."""
    return {
        step.name: network.weights[step.inputs["weight"]].values.view(np.float32)
        for step in network.steps
        if step.operator == DENSE
        and step.inputs["weight"] in network.weights
        and network.weights[step.inputs["weight"]].layout is Layout.DENSE
    }


def _masks(weights: Mapping[str, F32], sparsity: float, scope: Scope) -> dict[str, masks.Mask]:
    if scope == "layer":
        return {
            step: masks.magnitude(weight, masks.budget(weight.size, sparsity))
            for step, weight in weights.items()
        }
    total = sum(weight.size for weight in weights.values())
    return masks.magnitude_across(weights, masks.budget(total, sparsity))


def _not_worth(mask: masks.Mask) -> str:
    """Why a layer pruned so should stay dense; empty when CSR is smaller.

    Args:
        mask: (rows, cols), True where CSR would store an element.
    """
    rows = mask.shape[0]
    stored = int(mask.sum())
    as_csr, as_dense = 8 * stored + 4 * (rows + 1), 4 * mask.size
    if as_csr < as_dense:
        return ""
    zeros = 1.0 - stored / max(mask.size, 1)
    return f"at {zeros:.0%} zeros CSR takes {as_csr} bytes, dense {as_dense}"


def _rebuilt(
    network: Network, replaced: Mapping[str, Tensor], left: Mapping[str, str]
) -> Candidate:
    """The network with the weights of some steps replaced, by step name."""
    changed = rewrites.with_weights(network, replaced)
    operators = {step.name: step.operator for step in changed.steps}
    layers = []
    for step in network.steps:
        if step.name not in replaced and step.name not in left:
            continue
        held = network.weights[step.inputs["weight"]]
        made = replaced.get(step.name, held)
        sizes, zeros = (held.nbytes, made.nbytes), shapes.zeros(made)
        reason = "" if step.name in replaced else left[step.name]
        layers.append(LayerChange(step.name, operators[step.name], *sizes, zeros, reason))
    return Candidate(changed, tuple(layers))
