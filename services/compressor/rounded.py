"""The stages `quantize` and `adapt`: weights of few bits, and how many each layer gets; pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from services.compressor import pipeline
from shared.contracts.v1.recipes import Adapt, Quantize
from shared.network import chains, integers, rewrites
from shared.network.graph import Network
from shared.quantization import adaptive, affine, corrections, ranges, scheme
from shared.quantization.adaptive import Option
from shared.quantization.observers import Observed
from shared.quantization.ranges import Affine, Range
from shared.quantization.scheme import Scheme, Sharing
from shared.quantization.solvers import awq, gptq, hqq
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor, dense

DENSE = "f32"
BYTE = 8  # bits
RULES: Mapping[str, Callable[[Observed], Range]] = {
    "min_max": ranges.min_max,
    "moving": ranges.moving,
    "percentile": ranges.percentile,
    "mse": partial(ranges.mse, bits=BYTE),
    "kl": partial(ranges.entropy, bits=BYTE),
}
Seen = Mapping[str, Observed]  # by step name
Scores = Callable[[Network], F32]  # of a network on calibration rows: (n, classes)


@dataclass(frozen=True, slots=True)
class Rounded:
    """A network with weights of few bits, and what there is to say of each layer."""

    network: Network
    notes: Mapping[str, str]  # by step name


def apply(stage: Quantize, network: Network, seen: Seen) -> Rounded:
    """Every dense layer in the stage's scheme; a group that does not divide a row is halved.

    Raises:
        ValueError: no dense layer.
    """
    sharing: Sharing | None = "tensor" if stage.per_tensor else stage.group
    wanted = scheme.of(stage.bits, sharing, symmetric=stage.symmetric)
    if stage.solver == "awq":
        network = _scaled(network, wanted, seen)
    weights = _weights(network)
    chosen = {name: wanted.fitted(weight.shape[1]) for name, weight in weights.items()}
    made = {
        name: solve(stage, weight, chosen[name], seen.get(name)) for name, weight in weights.items()
    }
    whole = rewrites.with_weights(network, made)
    if stage.activations == "dynamic":
        whole = rewrites.with_attributes(whole, made, {"x_bits": 8})
    if stage.bias_correction:
        whole = rewrites.with_biases(whole, _shifted(network, weights, made, seen))
    if stage.activations == "static":
        whole = integers.static(whole, {name: codes(stage, seen[name]) for name in made})
    notes = {
        name: f"groups of {wanted.group} do not divide {weights[name].shape[1]} columns: "
        f"{_grouped(one)}"
        for name, one in chosen.items()
        if one.group != wanted.group
    }
    return Rounded(whole, notes)


def codes(stage: Quantize, seen: Observed) -> Affine:
    """The bytes that stand for what a layer reads, by the stage's rule."""
    return ranges.affine(RULES[stage.ranges](seen), BYTE, symmetric=False)


def solve(stage: Quantize | Adapt, weight: F32, chosen: Scheme, seen: Observed | None) -> Tensor:
    """One weight by the stage's solver.

    Raises:
        ValueError: GPTQ without second moments of the inputs.
    """
    match stage.solver:
        case "nearest" | "awq":  # for awq the network was scaled before
            return affine.quantize(weight, chosen)
        case "hqq":
            return hqq.quantize(weight, chosen)
        case "gptq":
            if seen is None or seen.gram is None:
                raise ValueError("gptq needs second moments of every layer's inputs")
            if isinstance(stage, Adapt):
                return gptq.quantize(weight, seen.gram, chosen)
            order, damping = stage.act_order, stage.damping
            return gptq.quantize(weight, seen.gram, chosen, act_order=order, damping=damping)


def adapted(stage: Adapt, network: Network, seen: Seen, scores: Scores) -> Rounded:
    """Bits by layer: least summed loss within the share of the dense bytes.

    The loss of an option is what the network's answers lose when that layer alone is stored so.

    Raises:
        ValueError: no dense layer, or not even 4 bits everywhere fit; names what would.
    """
    weights = _weights(network)
    reference = scores(network)
    made = {name: _ways(stage, weight, seen.get(name)) for name, weight in weights.items()}
    options = {
        name: [
            Option(way, tensor.nbytes, lost(network, name, tensor, reference, scores))
            for way, tensor in ways.items()
        ]
        for name, ways in made.items()
    }
    budget = stage.share * sum(weight.nbytes for weight in weights.values())
    chosen = adaptive.allocate(options, budget)
    picked = {name: made[name][one.name] for name, one in chosen.items() if one.name != DENSE}
    notes = {name: f"{one.name}: loses {one.loss:.3g} nats" for name, one in chosen.items()}
    return Rounded(rewrites.with_weights(network, picked), notes)


def lost(network: Network, step: str, weight: Tensor, reference: F32, scores: Scores) -> float:
    """Mean KL divergence [nats] of the answers when one layer has another weight."""
    other = scores(rewrites.with_weights(network, {step: weight}))
    return divergence(reference, other)


def divergence(reference: F32, other: F32) -> float:
    """Mean KL(softmax(reference), softmax(other)) over rows [nats].

    Args:
        reference, other: (n, classes) float32 scores; probabilities count as scores too.
    """
    left, right = _log_softmax(reference), _log_softmax(other)
    return float((np.exp(left) * (left - right)).sum(axis=1).mean())


def _scaled(network: Network, wanted: Scheme, seen: Seen) -> Network:
    """AWQ: columns that large inputs meet are scaled up, where a layer before can take it."""
    for first, second in list(chains.pairs(network)):
        weight = pipeline.dense_weights(network)[second.name]
        inputs = seen[second.name]
        if inputs.gram is None:
            raise ValueError("awq needs second moments of every layer's inputs")
        chosen = wanted.fitted(weight.shape[1])
        found = awq.search(weight, inputs.gram, inputs.rows, chosen)
        network = chains.rescaled(network, first, second, found.scales)
    return network


def _ways(stage: Adapt, weight: F32, seen: Observed | None) -> dict[str, Tensor]:
    """A layer in 4 bits, in 8 bits, and as it is."""
    four = scheme.int4_per_group(stage.group).fitted(weight.shape[1])
    return {
        "4 bits": solve(stage, weight, four, seen),
        "8 bits": solve(stage, weight, scheme.INT8_PER_CHANNEL, seen),
        DENSE: dense(weight),
    }


def _shifted(
    network: Network, weights: Mapping[str, F32], made: Mapping[str, Tensor], seen: Seen
) -> dict[str, Tensor]:
    """Biases that keep the mean outputs."""
    steps = rewrites.products(network)
    found = {}
    for name, tensor in made.items():
        shift = corrections.bias_shift(weights[name], tensor, seen[name].mean)
        if "bias" in steps[name].inputs:
            shift = shift + network.weights[steps[name].inputs["bias"]].values.view(np.float32)
        found[name] = dense(shift)
    return found


def _weights(network: Network) -> dict[str, F32]:
    weights = pipeline.dense_weights(network)
    if not weights:
        raise ValueError("nothing to quantize: the network has no dense layer")
    return weights


def _grouped(chosen: Scheme) -> str:
    return f"groups of {chosen.group} instead" if chosen.group else "one scale per row instead"


def _log_softmax(scores: F32) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
    wide = scores.astype(np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
