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
Ways = Mapping[str, Mapping[str, Tensor]]  # by step name and what it is called
Costs = Mapping[str, Mapping[str, float]]  # the same
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


def ways(stage: Adapt, network: Network, seen: Seen) -> Ways:
    """Every layer in every number of bits, and as it is.

    Raises:
        ValueError: no dense layer.
    """
    return {
        name: _ways(stage, weight, seen.get(name)) for name, weight in _weights(network).items()
    }


def bytes_of(made: Ways) -> Costs:
    """What every way of every layer takes [bytes]."""
    return {
        name: {way: float(tensor.nbytes) for way, tensor in options.items()}
        for name, options in made.items()
    }


def adapted(
    stage: Adapt, network: Network, made: Ways, costs: Costs, scores: Scores
) -> tuple[dict[str, str], dict[str, str]]:
    """Bits by layer: least summed loss within the share of the dense bytes, or the seconds.

    The loss of an option is what the network's answers lose when that layer alone is stored so.

    Args:
        made: see `ways`.
        costs: [bytes] or [s] of each.

    Returns:
        By step name, the way that was chosen, and what there is to say of it.

    Raises:
        ValueError: not even the cheapest options fit; names what would.
    """
    reference = scores(network)
    options = {
        name: [
            Option(way, costs[name][way], lost(network, name, tensor, reference, scores))
            for way, tensor in tried.items()
        ]
        for name, tried in made.items()
    }
    budget = stage.seconds
    if budget is None:
        assert stage.share is not None  # the contract: one of the two
        budget = stage.share * sum(costs[name][DENSE] for name in made)
    chosen = adaptive.allocate(options, budget)
    unit = "bytes" if stage.seconds is None else "s"
    notes = {
        name: f"{one.name}: loses {one.loss:.3g} nats, takes {one.cost:.4g} {unit}"
        for name, one in chosen.items()
    }
    return {name: one.name for name, one in chosen.items()}, notes


def picked(network: Network, made: Ways, chosen: Mapping[str, str]) -> Network:
    """The network with one way of each layer.

    Raises:
        ValueError: a layer or a way is not there; names what is.
    """
    for name, way in chosen.items():
        if name not in made:
            raise ValueError(f"no dense layer is called {name!r}; there are {', '.join(made)}")
        if way not in made[name]:
            raise ValueError(f"{name!r} has no way {way!r}; there are {', '.join(made[name])}")
    taken = {name: made[name][way] for name, way in chosen.items() if way != DENSE}
    return rewrites.with_weights(network, taken)


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
    """A layer in each number of bits, and as it is."""
    schemes = {bits: scheme.of(bits, stage.group if bits <= 4 else None) for bits in stage.bits}
    made = {
        f"{bits} bits": solve(stage, weight, one.fitted(weight.shape[1]), seen)
        for bits, one in schemes.items()
    }
    return {**made, DENSE: dense(weight)}


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
