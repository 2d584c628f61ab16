"""How close a NIR file's layers here come to its equations: the network runs through our layers
and, node by node, through `nir_reference` in float64. Alone, a node of the reference reads the
spikes that ours read, so that its differences are its own; as a whole, it reads those of the
reference.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from services.compressor.importers import nir_file, nir_graph, nir_populations, nir_simulated
from services.compressor.importers.nir_neurons import Rule
from services.compressor.importers.nir_populations import Served
from services.compressor.importers.nir_reference import Bits, Ran
from shared.network import execute, streaming
from shared.network.graph import Network, Step
from shared.operators import spike_trains
from shared.operators.reference import ReferenceBackend
from shared.spiking.layers import NEVER
from shared.spiking.recurrent import FIELDS
from shared.tensors.dtypes import F32
from shared.tensors.layouts import dense

ROWS = 4  # trains side by side


@dataclass(frozen=True, slots=True)
class Parity:
    """How far one node's neurons are from their equations."""

    node: str
    kind: str
    neurons: int
    spikes: int  # ours, in all rows
    apart: int  # steps of neurons in which only one of the two spiked, alone
    shift: float | None  # largest difference of a neuron's k-th spike [s], alone; None: no pair
    # largest difference of potentials until the first spike apart, alone: in units of the way from
    # leak to threshold, for neurons without a threshold in those of the node
    membrane: float
    apart_as_a_whole: int


def parity(
    data: bytes,
    *,
    dt: float,
    steps: int,
    rule: Rule = "exact",
    share: float = 0.2,
    seed: int = 0,
) -> tuple[Parity, ...]:
    """Every node of neurons of a file, on random trains.

    Args:
        dt: length of a step [s].
        rule: by which ours solve the equations; the reference is exact.
        share: of inputs that spike in a step.

    Raises:
        SuiteError: the file cannot be served.
    """
    graph = nir_file.decode(data)
    served = nir_populations.served(graph, dt=dt, steps=steps, rule=rule)
    width = served.network.inputs["x"].shape[2] or 0
    x = (np.random.default_rng(seed).random((ROWS, steps, width)) < share).astype(np.float32)
    ran = _stepped(served, x)
    ours = {name: ran[name] for name in graph.nodes if name in ran}
    alone = whole = nir_simulated.simulated(graph, x, dt, ours)
    read = ours
    while any((whole[name].spikes != read[name].spikes).any() for name in whole):
        read, whole = whole, nir_simulated.simulated(graph, x, dt, whole)
    return tuple(
        _compared(name, graph.nodes[name], ours[name], alone[name], whole[name], dt)
        for name in alone
    )


def _stepped(served: Served, x: F32) -> dict[str, Ran]:
    """Our neurons a step at a time, so that their potentials are seen in each; from rest in units
    of the way to the threshold, or as they are where there is none."""
    steps = {
        step.outputs["spikes"]: step for step in served.network.steps if "v_next" in step.outputs
    }
    way = streaming.opened(replace(served.network, outputs=tuple(steps)), rows=len(x), steps=1)
    first, later = (execute.load(one, ReferenceBackend()) for one in (way.first, way.later))
    made: dict[str, list[Any]] = {}
    carried: dict[str, Any] = {}
    for at in range(x.shape[1]):
        loaded = later if at else first
        found = loaded.run({"x": dense(np.ascontiguousarray(x[:, at : at + 1])), **carried})
        carried = {port: found[value] for port, value in way.carried.items()}
        for value, tensor in found.items():
            made.setdefault(value, []).append(tensor)
    ran: dict[str, Ran] = {}
    for name in served.places.keys() - {nir_graph.FIRST}:
        value, begin = served.places[name]
        part = slice(begin, begin + served.sizes[name])
        spikes = np.concatenate([spike_trains.split(one) for one in made[value]], 1)[:, :, part]
        v = np.stack([one.values for one in made[steps[value].outputs["v_next"]]], 1)[:, :, part]
        ran[name] = _told(spikes, v, *_levels(served.network, steps[value], part))
    return ran


def _levels(network: Network, step: Step, part: slice) -> tuple[Any, Any]:
    """Leak potential and threshold of neurons, as they are computed with."""
    if "neurons" in step.inputs:
        constants = network.weights[step.inputs["neurons"]].values[:, part]
        return constants[FIELDS.index("leak")], constants[FIELDS.index("threshold")]
    given = step.attributes
    return np.array(given.get("leak", 0.0)), np.array(given.get("threshold", 1.0))


def _told(spikes: Any, v: Any, leak: Any, threshold: Any) -> Ran:
    unit = np.where(threshold >= NEVER, 1.0, threshold - leak)
    return Ran(spikes.astype(bool), (v.astype(np.float64) - leak) / unit)


def _compared(name: str, node: Any, ours: Ran, alone: Ran, whole: Ran, dt: float) -> Parity:
    apart = ours.spikes != alone.spikes
    until = np.logical_or.accumulate(apart, axis=1)
    error = np.where(until, 0.0, np.abs(ours.v - alone.v))
    return Parity(
        node=name,
        kind=type(node).__name__,
        neurons=ours.spikes.shape[2],
        spikes=int(ours.spikes.sum()),
        apart=int(apart.sum()),
        shift=_shift(ours.spikes, alone.spikes, dt),
        membrane=float(error.max(initial=0.0)),
        apart_as_a_whole=int((ours.spikes != whole.spikes).sum()),
    )


def _shift(ours: Bits, theirs: Bits, dt: float) -> float | None:
    """Between the k-th spikes of each neuron, as far as both have them."""
    most: int | None = None
    for row, neuron in np.ndindex(ours.shape[0], ours.shape[2]):
        first, second = (np.flatnonzero(one[row, :, neuron]) for one in (ours, theirs))
        pairs = min(len(first), len(second))
        if pairs:
            most = max(most or 0, int(np.abs(first[:pairs] - second[:pairs]).max()))
    return None if most is None else most * dt
