"""Delays of NIR: in whole steps, between neurons."""

import nir
import numpy as np
import numpy.typing as npt

from services.compressor.importers import nir_order
from services.compressor.importers.nir_linear import Shape
from services.compressor.importers.nir_nested import Wired
from services.compressor.importers.nir_neurons import NEURONS
from shared.contracts.errors import InvalidNetwork, TooLarge

MAX_STEPS = 1000
RELAY = ".relay"  # ends the name of neurons that pass on what they read


def steps_of(name: str, node: nir.Delay, shape: Shape, dt: float) -> npt.NDArray[np.int64]:
    """Steps by which each value of a shape is delayed.

    Args:
        dt: length of a step [s].

    Raises:
        InvalidNetwork: not as many delays as values, or one is negative.
        TooLarge: over `MAX_STEPS`.
    """
    times, count = np.asarray(node.delay, np.float64).reshape(-1), int(np.prod(shape, dtype=object))
    if times.size not in (1, count):
        raise InvalidNetwork(f"{name!r} delays {times.size} values, {count} come before it")
    if times.min(initial=0.0) < 0:
        raise InvalidNetwork(f"{name!r} (Delay) delays by {times.min():g} s; 0 is the least")
    if (longest := times.max(initial=0.0)) > (MAX_STEPS + 0.5) * dt:
        raise TooLarge(
            f"{name!r} (Delay) delays by {longest:g} s, over the limit of {MAX_STEPS} steps of "
            f"{dt:g} s; longer steps make fewer of it"
        )
    return np.broadcast_to(np.rint(times / dt).astype(np.int64), count)


def relayed(graph: Wired[nir.NIRNode]) -> Wired[nir.NIRNode]:
    """The graph with neurons that pass on, a step like any, what would else be delayed without a
    neuron before or after it: between the input and a delay, and between a delay and the output.
    """
    before = {name: list(graph.before[name]) for name in graph.walk}
    nodes = {name: graph.nodes[name] for name in graph.walk}
    first, relay = graph.walk[0], nir.Threshold(threshold=np.array([0.5]))
    early, late = _around_delays(graph)
    if sooner := [name for name in early if first in before[name]]:
        nodes[first + RELAY], before[first + RELAY] = relay, [first]
        for name in sooner:
            before[name] = [first + RELAY if s == first else s for s in before[name]]
    if graph.output in late:
        nodes[graph.output + RELAY] = relay
        before[graph.output + RELAY] = before[graph.output]
        before[graph.output] = [graph.output + RELAY]
    return Wired.of(nodes, before, graph.output)


def _around_delays(graph: Wired[nir.NIRNode]) -> tuple[set[str], set[str]]:
    """Nodes from which values come to a delay before they come to a neuron, and nodes to which they
    come from a delay without a neuron between; delays themselves are both."""
    early, late = set[str](), set[str]()
    order = linear_order(graph)
    for name in order:
        if isinstance(graph.nodes[name], nir.Delay) or late.intersection(graph.before[name]):
            late.add(name)
    for name in reversed(order):
        if isinstance(graph.nodes[name], nir.Delay) or name in early:
            early.add(name)
            early.update(s for s in graph.before[name] if not _fires(graph.nodes[s]))
    return early, late


def linear_order(graph: Wired[nir.NIRNode]) -> list[str]:
    """All nodes but neurons, each after those that it reads.

    Raises:
        InvalidNetwork: a cycle of them.
    """
    nodes = graph.nodes.items()
    reads = {name: () if _fires(node) else graph.before[name] for name, node in nodes}
    return [name for name in nir_order.ordered(reads) if not _fires(graph.nodes[name])]


def _fires(node: nir.NIRNode) -> bool:
    return isinstance(node, NEURONS)
