"""A trained layer of spiking neurons as one that goes on learning from what it is shown."""

from dataclasses import dataclass, replace
from math import exp

import numpy as np

from shared.network.graph import Network, Step
from shared.operators import plastic
from shared.operators.spec import Scalar
from shared.tensors.layouts import Tensor

SAME = ("a_plus", "a_minus", "offset", "nearest", "theta_plus", "inhibition", "alone")
TAKEN = ("decay", "leak", "threshold", "reset", "fraction")  # what both layers say of their neurons


@dataclass(frozen=True, slots=True)
class Learning:
    """Pair STDP at the synapses of a layer; time constants in steps. See shared.spiking.plastic.

    Bounds that are None are those of the weights as they are.
    """

    a_plus: float = 0.01
    a_minus: float = 0.0
    tau_plus: float = 20.0
    tau_minus: float = 20.0
    w_min: float | None = None
    w_max: float | None = None
    offset: float = 0.0
    nearest: bool = False
    theta_plus: float = 0.0
    tau_theta: float | None = None  # None: it never falls back
    inhibition: float = 0.0
    alone: bool = False

    def __post_init__(self) -> None:
        """Refuse windows without extent.

        Raises:
            ValueError: a time constant is not positive; names it.
        """
        for name in ("tau_plus", "tau_minus", "tau_theta"):
            tau = getattr(self, name)
            if tau is not None and not tau > 0:
                raise ValueError(f"{name} must be positive, got {tau} steps")

    def attributes(self, weight: Tensor) -> dict[str, Scalar]:
        """As the operator takes it, for the synapses that learn."""
        held = weight.values.view(np.float32)
        low, high = (float(end(held, initial=0.0)) for end in (np.min, np.max))
        return {
            **{name: getattr(self, name) for name in SAME},
            "w_min": low if self.w_min is None else self.w_min,
            "w_max": high if self.w_max is None else self.w_max,
            "decay_pre": exp(-1.0 / self.tau_plus),
            "decay_post": exp(-1.0 / self.tau_minus),
            "theta_decay": 1.0 if self.tau_theta is None else exp(-1.0 / self.tau_theta),
        }


def learning(network: Network, layer: str, rule: Learning) -> Network:
    """The network with one layer that learns; everything else is as it was.

    Args:
        layer: name of a step `lif_layer` with a dense weight of its own.

    Raises:
        ValueError: there is no such layer, it cannot learn, or the rule makes no sense.
    """
    known = [step.name for step in network.steps if step.operator == "lif_layer"]
    if layer not in known:
        there = ", ".join(known) or "none"
        raise ValueError(f"no layer {layer!r} can learn; there are {there}")
    steps = tuple(
        _learning(network, step, rule) if step.name == layer else step for step in network.steps
    )
    return replace(network, steps=steps)


def _learning(network: Network, step: Step, rule: Learning) -> Step:
    if step.attributes.get("subtract"):
        raise ValueError(f"{step.name!r} subtracts its threshold; a layer that learns is reset")
    if step.inputs["weight"] not in network.weights:
        raise ValueError(f"the weight of {step.name!r} is not its own")
    given = {name: step.attributes[name] for name in TAKEN if name in step.attributes}
    attributes = {**given, **rule.attributes(network.weights[step.inputs["weight"]])}
    values = {port: f"{step.name}:{port}" for port in ("weight", *plastic.KEPT)}
    outputs = {f"{port}_next": values[port] for port in values}
    return replace(
        step,
        operator="plastic_layer",
        outputs={**outputs, **step.outputs},
        attributes=attributes,
    )
