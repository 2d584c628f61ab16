"""Graphs of NIR by the reference of their nodes, on trains of spikes that are given."""

from collections.abc import Mapping
from typing import Any

import nir
import numpy as np

from services.compressor.importers import nir_graph, nir_linear, nir_reference
from services.compressor.importers.nir_nested import Wired
from services.compressor.importers.nir_neurons import SILENT
from services.compressor.importers.nir_reference import F64, Ran
from shared.tensors.dtypes import F32


def simulated(
    graph: Wired[nir.NIRNode], x: F32, dt: float, read: Mapping[str, Ran]
) -> dict[str, Ran]:
    """The reference of every node of neurons, in the units of `_stepped`, reading given spikes.

    Whoever gives back what comes out until it stays has run the whole of it, cycles included: every
    time the spikes of one more step are right.
    """
    found: dict[str, Ran] = {}
    n, steps = x.shape[:2]
    for name in read:
        node, trains = graph.nodes[name], _Trains(graph, x, dt, read, name)
        current = trains.total(name, late=False)
        made = nir_reference.neurons(node, current.reshape(n, steps, -1), dt=dt)
        found[name] = Ran(made.spikes, _counted(node, made.v))
    return found


class _Trains:
    """Values of linear nodes in every step, (n * steps, ...), as one node of neurons reads them: of
    itself and of those after it what was fired a step before."""

    def __init__(
        self, graph: Wired[nir.NIRNode], x: F32, dt: float, read: Mapping[str, Ran], reader: str
    ) -> None:
        self._graph, self._x, self._dt, self._read = graph, x, dt, read
        order = list(graph.nodes)
        self._earlier = set(order[: order.index(reader)])
        self._known: dict[tuple[str, bool], F64] = {}

    def total(self, name: str, *, late: bool) -> F64:
        """The sum of all that a node reads, `late` if it is delayed by steps afterwards."""
        first, *others = (self._value(source, late=late) for source in self._graph.before[name])
        return first + sum(other.reshape(first.shape) for other in others)

    def _value(self, name: str, *, late: bool) -> F64:
        if (name, late) not in self._known:
            self._known[name, late] = self._computed(name, late=late)
        return self._known[name, late]

    def _computed(self, name: str, *, late: bool) -> F64:
        node = self._graph.nodes[name]
        if not self._graph.before[name]:
            return _shaped(self._x.reshape(-1, self._x.shape[2]), node.input_type["input"])
        if isinstance(node, nir.Delay):
            return self._delayed(name, node, late=late)
        if isinstance(node, nir_graph.ENDS):
            return self.total(name, late=late)
        if isinstance(node, nir_linear.LINEAR):
            return nir_reference.linear(node, self.total(name, late=late))
        spikes = self._read[name].spikes
        seen = spikes if late or name in self._earlier else _later(spikes, 1)
        return _shaped(seen.reshape(-1, spikes.shape[2]), _shape(node))

    def _delayed(self, name: str, node: nir.Delay, *, late: bool) -> F64:
        """Each value by its own number of steps."""
        held = [self.total(name, late=late or after) for after in (False, True)]
        n, steps = self._x.shape[:2]
        trains = [one.reshape(n, steps, -1) for one in held]
        every = np.broadcast_to(np.rint(np.ravel(node.delay) / self._dt), trains[0].shape[2])
        made = np.empty_like(trains[0])
        for ago in np.unique(every).astype(int):
            made[:, :, every == ago] = _later(trains[int(ago > 0)][:, :, every == ago], ago)
        return made.reshape(held[0].shape)


def _later(trains: Any, steps: int) -> Any:
    """(n, steps, k), so many steps later; before them there is nothing."""
    return np.pad(trains, ((0, 0), (steps, 0), (0, 0)))[:, : trains.shape[1]]


def _shape(node: Any) -> tuple[int, ...]:
    return np.shape(node.threshold if isinstance(node, nir.Threshold) else node.r)


def _shaped(values: Any, shape: Any) -> F64:
    """Rows of values in a shape, where they fill it."""
    held: F64 = values.astype(np.float64)
    fits = shape is not None and np.prod(shape) == held.shape[1]
    return held.reshape(len(held), *(int(size) for size in shape)) if fits else held


def _counted(node: Any, v: F64) -> F64:
    leak = np.ravel(getattr(node, "v_leak", 0.0))
    if isinstance(node, SILENT):
        return np.asarray(v - leak)
    top = np.ravel(node.threshold if isinstance(node, nir.Threshold) else node.v_threshold)
    return np.asarray((v - leak) / (top - leak))
