"""Pairs of layers with nothing but relu between them: what may change on both sides at once."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from shared.network.graph import Network, Step
from shared.quantization import corrections
from shared.quantization.observers import Observed
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Layout, dense

LAYER = "gemm_f32"
THROUGH = {"relu", "copy"}  # a scaled channel stays one


def pairs(network: Network) -> Iterator[tuple[Step, Step]]:
    """Dense layers whose whole output one other dense layer reads, through relu at most."""
    for step in network.steps:
        if _own(network, step) and (follower := _follower(network, step.outputs["y"])):
            yield step, follower


def equalized(network: Network, *, rounds: int = 3) -> Network:
    """Both layers of each pair with the same range per channel; the network's meaning stays.

    Source: Nagel et al. 2019, section 4.1, iterated over all pairs.
    """
    for _ in range(rounds):
        for first, second in list(pairs(network)):
            scales = corrections.equalize(_weight(network, first), _weight(network, second))
            network = rescaled(network, first, second, scales)
    return network


def smoothed(
    network: Network, seen: Mapping[str, Observed], alpha: float | None
) -> tuple[Network, dict[str, float]]:
    """Both layers of each pair with the difficulty of the inputs shared; the meaning stays.

    Args:
        seen: by name of the second step, what it reads.
        alpha: share that moves to the weights, 0..1; None: the best for each pair.

    Returns:
        The network, and by name of the second step the share that was taken.

    Raises:
        ValueError: a share is to be searched and there are no second moments.

    Source: Xiao et al. 2022, "SmoothQuant", eq. 4.
    """
    taken: dict[str, float] = {}
    for first, second in list(pairs(network)):
        weight, inputs = _weight(network, second), seen[second.name]
        share = corrections.best_share(inputs, weight) if alpha is None else alpha
        scales = corrections.smooth(inputs.largest, weight, share)
        network = rescaled(network, first, second, scales)
        taken[second.name] = share
    return network, taken


def rescaled(network: Network, first: Step, second: Step, scales: F32) -> Network:
    """A pair with the rows of the first divided and the columns of the second multiplied.

    Args:
        scales: (outputs of first,) float32, positive.
    """
    weights = dict(network.weights)
    weights[first.inputs["weight"]] = dense(_weight(network, first) / scales[:, np.newaxis])
    weights[second.inputs["weight"]] = dense(_weight(network, second) * scales)
    if "bias" in first.inputs:
        bias = first.inputs["bias"]
        weights[bias] = dense(network.weights[bias].values.view(np.float32) / scales)
    return replace(network, weights=weights)


def _follower(network: Network, value: str) -> Step | None:
    """The one dense layer that reads a value as its x; None when anything else reads it."""
    if value in network.outputs:
        return None
    readers = [step for step in network.steps if value in step.inputs.values()]
    if len(readers) != 1:
        return None
    (reader,) = readers
    if reader.operator in THROUGH:
        return _follower(network, reader.outputs["y"])
    if _own(network, reader) and reader.inputs["x"] == value:
        return reader
    return None


def _own(network: Network, step: Step) -> bool:
    """A dense layer whose weight and bias belong to the network and to it alone."""
    if step.operator != LAYER:
        return False
    names = [step.inputs[port] for port in ("weight", "bias") if port in step.inputs]
    read = [name for other in network.steps for name in other.inputs.values()]
    return all(
        name in network.weights
        and network.weights[name].layout is Layout.DENSE
        and read.count(name) == 1
        for name in names
    )


def _weight(network: Network, step: Step) -> F32:
    weight: F32 = network.weights[step.inputs["weight"]].values.view(np.float32)
    return weight
