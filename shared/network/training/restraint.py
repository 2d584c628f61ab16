"""Spikes that cost something: a layer that spikes more often than it should is held back.

    cost = weight × sum over layers of max(0, rate - target)²

A rate is the share of the rows, steps and neurons of a layer that hold a spike. The slope of the
cost is the same at every place of a layer, 2 weight (rate - target) / (n steps m); from there it
goes through the surrogate as the loss does, so that it reaches neurons below their threshold, too.
A layer at or below the target costs nothing.

Layers pay whose spikes something with weights reads. The last neurons, whose spikes are the answer,
pay only when they are asked to: a class that is told by its rate is not told by silence.

Source: Zenke & Vogels 2021, "The Remarkable Robustness of Surrogate Gradient Learning for
Instilling Complex Function in Spiking Neural Networks": the upper bound of the mean of a layer, of
second order. Here the mean goes over the rows of a mini-batch as well.
"""

from dataclasses import replace
from math import prod

import numpy as np

from shared.network.graph import Network, Step
from shared.network.training.backward import Taped
from shared.network.training.plan import ActivityPlan
from shared.network.training.scoring import Scored
from shared.operators import spike_trains
from shared.spiking.layers import NEVER
from shared.tensors.layouts import dense

LAYERS = ("lif_layer", "cuba_layer", "recurrent_layer")  # through whose spikes slopes go


def require(network: Network, plan: ActivityPlan | None) -> None:
    """Refuse a cost of spikes that nothing would pay.

    Raises:
        ValueError: no layer of the network can spike, or only the last neurons, which are exempt.
    """
    if plan is None or layers(network, outputs=plan.outputs):
        return
    if layers(network, outputs=True):
        raise ValueError(
            "activity: only the last neurons of the network spike, and they pay with outputs alone"
        )
    raise ValueError("activity is a cost of spikes, and no layer of the network can spike")


def layers(network: Network, *, outputs: bool) -> list[Step]:
    """The layers that pay; one that only integrates has a threshold that nothing passes.

    Args:
        outputs: those whose spikes nothing with weights reads, too.
    """
    found = [step for step in network.steps if step.operator in LAYERS and _threshold(step) < NEVER]
    read = _read(network)
    return [step for step in found if outputs or step.outputs["spikes"] in read]


def rate(taped: Taped, step: Step) -> float:
    """The share of rows, steps and neurons of a layer that hold a spike."""
    spikes = spike_trains.split(taped.values[step.outputs["spikes"]])
    return float(spikes.mean()) if spikes.size else 0.0


def added(found: Scored, plan: ActivityPlan | None) -> Scored:
    """The same run with the cost of its spikes in its loss and among its slopes.

    No loss reads spikes, so that their slopes begin with the cost.
    """
    if plan is None:
        return found
    taped, loss, outer = found.taped, found.loss, dict(found.outer)
    for step in layers(taped.network, outputs=plan.outputs):
        over = rate(taped, step) - plan.target
        if over <= 0:
            continue
        name = step.outputs["spikes"]
        shape = taped.values[name].shape
        loss += plan.weight * over**2
        outer[name] = dense(np.full(shape, 2 * plan.weight * over / prod(shape), np.float32))
    return replace(found, loss=loss, outer=outer)


def _read(network: Network) -> set[str]:
    """Values that come, by whatever ways, to a step with weights."""
    read: set[str] = set()
    for step in reversed(network.steps):
        if "weight" in step.inputs or read.intersection(step.outputs.values()):
            read.update(step.inputs.values())
    return read


def _threshold(step: Step) -> float:
    threshold = step.attributes.get("threshold")  # a recurrent layer has one for each neuron
    return threshold if isinstance(threshold, float) else 0.0
