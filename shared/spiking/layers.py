"""A layer of neurons over many steps: synapses add up whole numbers, membranes leak and spike.

    S_t = sum of the codes of the synapses whose input spikes, + the code of the bias   modulo 2**32
    u_t = (leak + decay (v_(t-1) - leak)) + S_t / 2**fraction       in float32, each rounded
    s_t = u_t > threshold                                           strictly
    v_t = reset where it spikes, or u_t - threshold; else u_t       one of the two, see `Layer`

With synapses that filter, a current i is carried from step to step, and

    u_t = (leak + decay (v_(t-1) - leak)) + (couple i_(t-1) + direct S_t / 2**fraction)
    i_t = synapse i_(t-1) + S_t / 2**fraction

A code is the weight times 2**fraction, rounded half to even. Sums of whole numbers do not depend on
their order, and the rest is single operations of IEEE 754, so that every device makes the same
spikes. With decay = exp(-dt / tau) and weights that include R (1 - decay), a step solves

    tau dv/dt = (leak - v) + R I

exactly for a current that is constant over it; decay = 1 is the neuron that does not leak, and an
infinite threshold the one that never spikes.

Source: Gerstner, Kistler, Naud and Paninski, "Neuronal Dynamics", 2014, sections 1.3 and 5.1;
reset by subtraction: Rueckauer et al. 2017, "Conversion of Continuous-Valued Deep Networks to
Efficient Event-Driven Networks for Image Classification", section 2.1.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from shared.tensors.dtypes import F32, I32, U8

MOST = 2**31 - 1
NEVER = float(np.finfo(np.float32).max)  # a threshold that nothing passes; infinity is no JSON
F64 = npt.NDArray[np.float64]
Surrogate = Literal["fast_sigmoid", "arctan", "triangle"]


@dataclass(frozen=True, slots=True)
class Layer:
    """What all neurons of a layer have in common; potentials in units of the weights."""

    decay: float  # share of v - leak that is left after a step, 0..1
    leak: float = 0.0  # potential without input
    threshold: float = 1.0  # a potential strictly above it spikes; infinite: none does
    reset: float = 0.0  # potential after a spike
    subtract: bool = False  # after a spike the threshold is subtracted instead
    fraction: int = 16  # binary places of a code
    synapse: float | None = None  # share of a synaptic current that is left; None: no filter
    couple: float = 0.0  # potential per unit of current at the beginning of a step
    direct: float = 1.0  # potential per unit of what arrives in a step

    def __post_init__(self) -> None:
        """Refuse what is no neuron.

        Raises:
            ValueError: names the value, what it may be, and why.
        """
        if not 0.0 <= self.decay <= 1.0:
            raise ValueError(f"decay is a share of 0..1, got {self.decay}")
        if not (isfinite(self.leak) and isfinite(self.reset)):
            raise ValueError(f"leak and reset are finite, got {self.leak} and {self.reset}")
        if not self.threshold > (0.0 if self.subtract else self.reset):
            least = "0, which is subtracted" if self.subtract else f"the reset {self.reset}"
            raise ValueError(f"threshold must be above {least}, got {self.threshold}")
        if self.synapse is not None and not 0.0 <= self.synapse <= 1.0:
            raise ValueError(f"synapse is a share of 0..1, got {self.synapse}")
        if not (isfinite(self.couple) and isfinite(self.direct)):
            raise ValueError(f"couple and direct are finite, got {self.couple} and {self.direct}")
        if not 0 <= self.fraction <= 24:
            raise ValueError(f"codes have 0 to 24 binary places, got {self.fraction}")


def codes(weight: F32, fraction: int) -> I32:
    """Weights as whole numbers, saturated; NaN counts as 0.

    Args:
        weight: any shape, float32.
        fraction: binary places.
    """
    scaled = np.rint(weight.astype(np.float64) * 2.0**fraction)
    known = np.where(np.isnan(scaled), 0.0, scaled)
    return np.clip(known, -MOST - 1, MOST).astype(np.int32)


def sums(spikes: U8, synapses: I32, bias: I32 | None) -> I32:
    """What arrives at every neuron in every step.

    Args:
        spikes: (n, steps, k) uint8 of 0 and 1.
        synapses: (m, k) int32 codes.
        bias: (m,) int32 codes.

    Returns:
        (n, steps, m) int32, modulo 2**32.
    """
    total = (spikes.astype(np.float64) @ synapses.T.astype(np.float64)).astype(np.int64)
    if bias is not None:
        total += bias
    return total.astype(np.int32)


class Ran(NamedTuple):
    """What many steps made."""

    spikes: U8  # (n, steps, m)
    v: F32  # (n, m) potentials after the last step
    i: F32  # (n, m) synaptic currents after it; as they began where nothing filters
    before: F32  # (n, steps, m) potentials before each reset


def run(total: I32, v: F32, layer: Layer, i: F32 | None = None) -> Ran:
    """Many steps.

    Args:
        total: (n, steps, m) int32, see `sums`.
        v: (n, m) float32, potentials before the first step.
        i: (n, m) float32, synaptic currents before it; None: none.
    """
    current: F32 = np.zeros_like(v) if i is None else i
    spikes, before = np.empty(total.shape, np.uint8), np.empty(total.shape, np.float32)
    leak, decay, threshold = (np.float32(x) for x in (layer.leak, layer.decay, layer.threshold))
    for step in range(total.shape[1]):
        arrived: F32 = total[:, step].astype(np.float32) * np.float32(2.0**-layer.fraction)
        driven, current = _filtered(arrived, current, layer)
        u: F32 = (leak + decay * (v - leak)) + driven
        fired = u > threshold
        after = u - threshold if layer.subtract else np.float32(layer.reset)
        v, spikes[:, step], before[:, step] = np.where(fired, after, u), fired, u
    return Ran(spikes, v, current, before)


def _filtered(arrived: F32, current: F32, layer: Layer) -> tuple[F32, F32]:
    """What drives the membrane in a step, and the synaptic current after it."""
    if layer.synapse is None:
        return arrived, current
    driven = np.float32(layer.couple) * current + np.float32(layer.direct) * arrived
    return driven, np.float32(layer.synapse) * current + arrived


@dataclass(frozen=True, slots=True)
class Slope:
    """What stands for the slope of a spike, and how far back in time it goes."""

    surrogate: Surrogate = "fast_sigmoid"
    steep: float = 4.0
    truncate: int = 0  # steps of a stretch, beyond whose beginning nothing passes; 0: all

    def __post_init__(self) -> None:
        """Refuse what is no slope.

        Raises:
            ValueError: names the value and what it may be.
        """
        if self.surrogate not in SURROGATES:
            raise ValueError(f"surrogates are {', '.join(SURROGATES)}; got {self.surrogate!r}")
        if not (isfinite(self.steep) and self.steep > 0):
            raise ValueError(f"steep is positive and finite, got {self.steep}")
        if self.truncate < 0:
            raise ValueError(f"truncate is a number of steps or 0, got {self.truncate}")


def slopes(
    before: F32, spikes: U8, outer: F32, layer: Layer, slope: Slope, last: F32 | None = None
) -> F32:
    """Back through time: the gradient of what arrives, from that of the spikes.

    The step function has the slope of a smooth one at u - threshold; a reset passes none.

    Args:
        before: (n, steps, m) potentials before the reset.
        spikes: (n, steps, m).
        outer: (n, steps, m) float32, gradient of the spikes.
        slope: that stands for the step's. Truncated, time is cut into stretches from its beginning.
        last: (n, m) float32, gradient of the potentials after the last step.

    Returns:
        (n, steps, m) float32, with respect to S_t / 2**fraction.

    Sources: Neftci, Mostafa & Zenke 2019, "Surrogate Gradient Learning in Spiking Neural Networks";
    stretches: Williams & Peng 1990, "An Efficient Gradient-Based Algorithm for On-Line Training".
    """
    shape = SURROGATES[slope.surrogate]
    local = outer * shape(before - np.float32(layer.threshold), np.float32(slope.steep))
    held: F32 = np.ones_like(local) if layer.subtract else (1 - spikes).astype(np.float32)
    found = np.empty_like(local)
    later: F32 = np.zeros_like(local[:, 0]) if last is None else last  # of v after the step
    current: F32 = np.zeros_like(later)  # of i after the step
    for step in reversed(range(local.shape[1])):
        of_u = local[:, step] + later * held[:, step]  # a reset to a value forgets
        later = of_u * np.float32(layer.decay)
        if layer.synapse is None:
            found[:, step] = of_u
        else:
            found[:, step] = np.float32(layer.direct) * of_u + current
            current = np.float32(layer.couple) * of_u + np.float32(layer.synapse) * current
        if slope.truncate and step % slope.truncate == 0:
            later, current = np.zeros_like(later), np.zeros_like(current)
    return found


def _fast_sigmoid(x: F32, steep: np.float32) -> F32:
    """1 / (1 + steep |x|)²: Zenke & Ganguli 2018, "SuperSpike"."""
    return np.asarray(1 / np.square(1 + steep * np.abs(x)), dtype=np.float32)


def _arctan(x: F32, steep: np.float32) -> F32:
    """steep / 2 / (1 + (π steep x / 2)²): Fang et al. 2021, eq. 12."""
    return np.asarray(steep / 2 / (1 + np.square(np.pi * steep * x / 2)), dtype=np.float32)


def _triangle(x: F32, steep: np.float32) -> F32:
    """steep max(0, 1 - steep |x|): Esser et al. 2016, eq. 6."""
    return np.asarray(steep * np.maximum(1 - steep * np.abs(x), 0), dtype=np.float32)


SURROGATES = {"fast_sigmoid": _fast_sigmoid, "arctan": _arctan, "triangle": _triangle}
