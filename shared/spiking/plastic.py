"""A layer of neurons that learns as it runs: neurons compete, synapses follow who spikes when.

Each step, in this order, everything but S in float32, each operation rounded by itself:

    S      = sum of the codes of synapses whose input spikes, + that of the bias     see `layers`
    u      = (leak + decay (v - leak)) + S / 2**fraction
    fires  where u - (threshold + theta) > 0; of a layer that fires alone, the first of the largest
    v      = reset where it fires; else u, less the inhibition where any other fires
    theta  = theta_decay theta, + theta_plus where it fires                  tires who fires often
    x      = decay_pre pre_trace
    y      = decay_post post_trace
    w      = clip(w + a_plus (x - offset)) for all synapses of neurons that fire
    w      = clip(w - a_minus y) for all synapses of inputs that spike
    pre_trace  = x + 1 where the input spikes, or 1 of nearest pairs; else x
    post_trace = y + 1 where the neuron fires, or 1; else y

Codes are taken anew from a weight that has changed. Only rows of neurons that fire and columns of
inputs that spike are touched.

Sources: Diehl and Cook 2015, "Unsupervised learning of digit recognition using
spike-timing-dependent plasticity" (theta, offset, lateral inhibition); Song, Miller and Abbott 2000
(the window); Morrison, Diesmann and Gerstner 2008, section 4.1 (traces, nearest pairs).
"""

from dataclasses import dataclass, fields
from math import isfinite
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from shared.spiking import layers
from shared.spiking.layers import Layer
from shared.tensors.dtypes import F32, I32, U8

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rule:
    """How synapses learn, for a given length of a step."""

    a_plus: float = 0.0  # weight gained at a spike of the neuron, per unit of the input's trace
    a_minus: float = 0.0  # weight lost at a spike of the input, per unit of the neuron's trace
    decay_pre: float = 0.0  # share of an input's trace that is left after a step
    decay_post: float = 0.0  # share of a neuron's trace
    offset: float = 0.0  # trace above which a spike of the neuron strengthens, below it weakens
    w_min: float = 0.0
    w_max: float = 1.0
    nearest: bool = False  # only the last spike before counts, not all

    def __post_init__(self) -> None:
        """Refuse what is no rule.

        Raises:
            ValueError: names the value and what it may be.
        """
        _require_finite(self)
        for name in ("decay_pre", "decay_post"):
            _require_share(name, getattr(self, name))
        if not self.w_min <= self.w_max:
            raise ValueError(f"w_min {self.w_min} exceeds w_max {self.w_max}")


@dataclass(frozen=True, slots=True)
class Competition:
    """How neurons of a layer hold each other, and themselves, back."""

    theta_plus: float = 0.0  # what a spike adds to the own threshold
    theta_decay: float = 1.0  # share of that which is left after a step
    inhibition: float = 0.0  # what a spike takes from the potentials of all others
    alone: bool = False  # at most one neuron fires in a step

    def __post_init__(self) -> None:
        """Refuse what is no competition.

        Raises:
            ValueError: names the value and what it may be.
        """
        _require_finite(self)
        _require_share("theta_decay", self.theta_decay)
        if self.inhibition < 0:
            raise ValueError(f"inhibition is not negative, got {self.inhibition}")


class State(NamedTuple):
    """What a layer of m neurons with k inputs remembers."""

    weight: F32  # (m, k)
    v: F32  # (m,)
    theta: F32  # (m,)
    pre_trace: F32  # (k,)
    post_trace: F32  # (m,)


def run(
    spikes: U8, state: State, bias: I32 | None, layer: Layer, rule: Rule, rivals: Competition
) -> tuple[U8, State]:
    """Many steps.

    Args:
        spikes: (steps, k) uint8 of 0 and 1.
        bias: (m,) int32 codes.

    Returns:
        (steps, m) uint8 spikes of the layer, and the state after the last step.
    """
    fired = np.zeros((len(spikes), len(state.v)), np.uint8)
    synapses = _Synapses.of(state.weight, layer.fraction)
    v, theta, pre, post = state.v, state.theta, state.pre_trace, state.post_trace
    for step, arriving in enumerate(spikes.astype(bool)):
        u = _potential(synapses.codes, arriving, bias, v, layer)
        fires = _firing(u - (np.float32(layer.threshold) + theta), rivals)
        v = _after(u, fires, layer, rivals)
        fired[step] = fires
        theta = np.float32(rivals.theta_decay) * theta
        theta = np.where(fires, theta + np.float32(rivals.theta_plus), theta)
        x, y = np.float32(rule.decay_pre) * pre, np.float32(rule.decay_post) * post
        if rule.a_plus and fires.any():
            gained = np.float32(rule.a_plus) * (x - np.float32(rule.offset))
            synapses.change(fires, gained, rule)
        if rule.a_minus and arriving.any():
            synapses.change(
                (slice(None), arriving), -(np.float32(rule.a_minus) * y)[:, np.newaxis], rule
            )
        one = np.float32(1.0)
        pre = np.where(arriving, one if rule.nearest else x + one, x)
        post = np.where(fires, one if rule.nearest else y + one, y)
    return fired, State(synapses.weight, v, theta, pre, post)


@dataclass(frozen=True, slots=True, eq=False)
class _Synapses:
    """Weights, and beside them their codes."""

    weight: F32  # (m, k)
    codes: I32
    fraction: int

    @classmethod
    def of(cls, weight: F32, fraction: int) -> Self:
        return cls(weight.copy(), layers.codes(weight, fraction), fraction)

    def change(self, where: Any, by: F32, rule: Rule) -> None:
        """Add to some of them, within their bounds."""
        low, high = np.float32(rule.w_min), np.float32(rule.w_max)
        self.weight[where] = np.clip(self.weight[where] + by, low, high)
        self.codes[where] = layers.codes(self.weight[where], self.fraction)


def _potential(codes: I32, arriving: Flags, bias: I32 | None, v: F32, layer: Layer) -> F32:
    total = codes[:, arriving].sum(axis=1, dtype=np.int64)
    if bias is not None:
        total = total + bias
    arrived = total.astype(np.int32).astype(np.float32) * np.float32(2.0**-layer.fraction)
    leak = np.float32(layer.leak)
    return np.asarray((leak + np.float32(layer.decay) * (v - leak)) + arrived, dtype=np.float32)


def _firing(margin: F32, rivals: Competition) -> Flags:
    fires = margin > 0
    if rivals.alone and fires.any():
        winner = np.where(fires, margin, np.float32(0)).argmax()
        fires = np.arange(len(margin)) == winner
    return fires


def _after(u: F32, fires: Flags, layer: Layer, rivals: Competition) -> F32:
    """Potentials after a step; a neuron inhibits all but itself, two that fire together as one."""
    rest = u - np.float32(rivals.inhibition) if fires.any() and rivals.inhibition else u
    return np.where(fires, np.float32(layer.reset), rest)


def _require_finite(held: Rule | Competition) -> None:
    for field in fields(held):
        value = getattr(held, field.name)
        if not isfinite(value):
            raise ValueError(f"{field.name} is finite, got {value}")


def _require_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is a share of 0..1, got {value}")
