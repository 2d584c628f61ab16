"""How much a spiking network does for some rows: spikes, silence, synaptic operations, and an
estimate of the energy that the arithmetic alone would take.

Energy of an operation in 45 nm at 0.9 V: Horowitz 2014, "Computing's Energy Problem (and what we
can do about it)", figure 1.1.9. It says nothing of memory, which takes most, nor of this machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.network.graph import Network, Step
from shared.network.training import backward, restraint
from shared.operators import spike_trains
from shared.operators.spec import Run, Tensors
from shared.sparse import triplets
from shared.tensors.layouts import Tensor

LAYERS = (*restraint.LAYERS, "plastic_layer")
PICO = 1e-12
INT_ADD, FLOAT_ADD, FLOAT_MUL = 0.1 * PICO, 0.9 * PICO, 3.7 * PICO  # [J], 32 bits each
UPDATE = 2 * FLOAT_ADD + 2 * FLOAT_MUL  # of a membrane that leaks: two sums, two products


@dataclass(frozen=True, slots=True)
class Activity:
    """One layer, over all rows and steps of a call."""

    neurons: int
    spikes: int  # of its neurons
    silence: float  # share of neurons and steps without a spike
    operations: int  # synaptic: a spike that arrives at a synapse whose weight is not zero
    dense: int  # what they would be if every input spiked in every step
    joules: float  # estimate: integer additions of synapses, and updates of membranes


def of(network: Network, inputs: Tensors, run: Run) -> dict[str, Activity]:
    """Activity of every layer of neurons, by step name.

    Args:
        inputs: by name, as the network declares them.
        run: a backend's calls; see `backward.on`.

    Raises:
        ValueError: the network has no such layer, or the inputs do not fit.
    """
    layers = [step for step in network.steps if step.operator in LAYERS]
    if not layers:
        raise ValueError("no step of the network is a layer of spiking neurons")
    values = backward.forward(network, inputs, run).values
    return {step.name: _of(step, values) for step in layers}


def total(calls: Sequence[Mapping[str, Activity]]) -> dict[str, Activity]:
    """Activity of several calls of one network with equally many rows and steps, together."""
    return {name: _sum([call[name] for call in calls]) for name in calls[0]}


def _sum(parts: Sequence[Activity]) -> Activity:
    return Activity(
        neurons=parts[0].neurons,
        spikes=sum(part.spikes for part in parts),
        silence=sum(part.silence for part in parts) / len(parts),
        operations=sum(part.operations for part in parts),
        dense=sum(part.dense for part in parts),
        joules=sum(part.joules for part in parts),
    )


def _of(step: Step, values: Tensors) -> Activity:
    arriving = spike_trains.split(values[step.inputs["spikes"]])
    leaving = spike_trains.split(values[step.outputs["spikes"]])
    synapses = _synapses(values[step.inputs["weight"]])
    operations = int(arriving.sum(axis=(0, 1), dtype=np.int64) @ synapses)
    rows, steps, neurons = leaving.shape
    most = int(synapses.sum())
    if "recurrent" in step.inputs:
        among = _among(values[step.inputs["recurrent"]])
        operations += int(leaving.sum(axis=(0, 1), dtype=np.int64) @ among)
        most += int(among.sum())
    return Activity(
        neurons=neurons,
        spikes=int(leaving.sum(dtype=np.int64)),
        silence=1.0 - float(leaving.mean()) if leaving.size else 1.0,
        operations=operations,
        dense=rows * steps * most,
        joules=operations * INT_ADD + leaving.size * UPDATE,
    )


def _synapses(weight: Tensor) -> npt.NDArray[np.int64]:
    """Neurons that each input reaches, (k,) int64."""
    reached = np.count_nonzero(weight.values.view(np.float32), axis=0)
    return np.asarray(reached, np.int64)


def _among(recurrent: Tensor) -> npt.NDArray[np.int64]:
    """Neurons that each neuron of a population reaches, over all lags, (m,) int64."""
    places, m = triplets.of(recurrent), recurrent.shape[1]
    return np.bincount(places.rows[places.values != 0] % m, minlength=m).astype(np.int64)
