"""A run forwards with its loss: where every slope of training begins."""

from dataclasses import dataclass, replace

import numpy as np

from shared.network.graph import Network
from shared.network.training import backward, losses
from shared.network.training.backward import Taped
from shared.network.training.plan import Loss
from shared.operators.spec import Run
from shared.tensors.dtypes import F32, Array
from shared.tensors.layouts import Tensor, dense


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The values of a run, its mean loss, and the slope of that by the name of what it reads."""

    taped: Taped
    loss: float
    outer: dict[str, Tensor]


def forward(network: Network, x: Array, wanted: Array, loss: Loss, run: Run) -> Scored:
    """Run a network with one input, and hold its first output against what was wanted.

    Args:
        x: (n, ...) rows of its input.
        wanted: (n,) whole labels, or for the loss mse (n, ...) float32.

    Raises:
        ValueError: they do not fit what the network makes.
    """
    whole, name = _read(network, loss)
    (port,) = network.inputs
    taped = backward.forward(whole, {port: dense(x)}, run)
    made: F32 = taped.values[name].values.view(np.float32)
    if loss == "mse":
        value, slope = losses.mse(made, wanted.astype(np.float32, copy=False))
    else:
        value, slope = losses.cross_entropy(made, losses.labels_of(wanted))
    return Scored(taped, value, {name: dense(slope)})


def _read(network: Network, loss: Loss) -> tuple[Network, str]:
    """The steps that the loss needs, and the value it reads: scores come before a softmax."""
    output = network.outputs[0]
    last = next((step for step in network.steps if output in step.outputs.values()), None)
    if loss != "cross_entropy" or last is None or last.operator != "softmax":
        return network, output
    others = tuple(step for step in network.steps if step is not last)
    return replace(network, steps=others, outputs=(last.inputs["x"],)), last.inputs["x"]
