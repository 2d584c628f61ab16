"""What rules of plasticity share: traces, bounds of weights, sums that stay, shapes that fit.

Bounds with a softness μ of 0 are hard: every change is whole, and the weight is cut at its bounds.
A softness of 1 makes changes smaller in proportion to the way that is left:

    gained = gained ((w_max - w) / (w_max - w_min))^μ
    lost   = lost   ((w - w_min) / (w_max - w_min))^μ
    w      = clip(w + gained - lost, w_min, w_max)

Sources: Gütig, Aharonov, Rotter and Sompolinsky 2003, "Learning input correlations through
nonlinear temporally asymmetric Hebbian plasticity" (softness); Morrison, Diesmann and Gerstner
2008, "Phenomenological models of synaptic plasticity based on spike timing", section 4.1 (traces,
nearest pairs); Diehl and Cook 2015 (one sum per neuron).
"""

from collections.abc import Mapping
from math import inf, isfinite
from typing import Protocol

import numpy as np

from shared.tensors.dtypes import F32


class Bounds(Protocol):
    """What the parameters of every rule say of its weights."""

    @property
    def w_min(self) -> float:
        """The lowest weight."""

    @property
    def w_max(self) -> float:
        """The highest weight."""

    @property
    def softness(self) -> float:
        """0: changes are cut at the bounds; 1: they shrink in proportion to the way left."""


def changed(weight: F32, gained: F32, lost: F32, bounds: Bounds) -> F32:
    """Weights after a change, within their bounds.

    Args:
        weight: (post, pre) float32.
        gained: the same, not negative where bounds are soft.
        lost: the same.
    """
    low, high = np.float32(bounds.w_min), np.float32(bounds.w_max)
    if bounds.softness:
        way = np.clip((weight - low) / (high - low), np.float32(0), np.float32(1))
        softness = np.float32(bounds.softness)
        gained, lost = gained * (1 - way) ** softness, lost * way**softness
    return np.asarray(np.clip(weight + gained - lost, low, high), dtype=np.float32)


def marked(trace: F32, spikes: F32, *, nearest: bool) -> F32:
    """Traces after spikes: one more, or 1 where only the last spike counts.

    Args:
        trace: (neurons,) float32.
        spikes: (neurons,) float32 of 0 and 1.
    """
    return np.where(spikes > 0, spikes, trace) if nearest else trace + spikes


def normalised(weight: F32, total: float) -> F32:
    """Every neuron's weights scaled to one sum: what one synapse gains, the others lose.

    Args:
        weight: (post, pre) float32, not negative. A row without weight stays so.
        total: the sum of each row.

    Raises:
        ValueError: the sum is not positive and finite, or a weight is negative.
    """
    if not 0.0 < total < inf:
        raise ValueError(f"total must be positive and finite, got {total}")
    if (weight < 0).any():
        raise ValueError(f"weights of one sum must not be negative, got {weight.min()}")
    sums = np.maximum(weight.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return np.asarray(weight * (np.float32(total) / sums), dtype=np.float32)


def require_bounds(bounds: Bounds, amplitudes: Mapping[str, float]) -> None:
    """Refuse empty ranges, and soft bounds that cannot be approached.

    Raises:
        ValueError: names the value and its limit.
    """
    if not bounds.w_min <= bounds.w_max:
        raise ValueError(f"w_min {bounds.w_min} exceeds w_max {bounds.w_max}")
    if not 0.0 <= bounds.softness < inf:
        raise ValueError(f"softness must be 0 or more and finite, got {bounds.softness}")
    if not bounds.softness:
        return
    if not (isfinite(bounds.w_min) and isfinite(bounds.w_max) and bounds.w_min < bounds.w_max):
        raise ValueError(
            f"soft bounds must be finite and apart, got {bounds.w_min}..{bounds.w_max}"
        )
    for name, value in amplitudes.items():
        if not value >= 0.0:
            raise ValueError(f"{name} must not be negative between soft bounds, got {value}")


def require_windows(times: Mapping[str, float]) -> None:
    """Refuse time constants [s] without extent.

    Raises:
        ValueError: one is not positive and finite; names it.
    """
    for name, tau in times.items():
        if not 0.0 < tau < inf:
            raise ValueError(f"{name} must be positive and finite, got {tau} s")


def require_shapes(weight: F32, pre: Mapping[str, F32], post: Mapping[str, F32]) -> None:
    """Refuse what is not one number per neuron on its side of the weights.

    Args:
        weight: (post, pre).
        pre: by name, each (pre,).
        post: by name, each (post,).

    Raises:
        ValueError: names the array and the shape that fits.
    """
    if weight.ndim != 2:
        raise ValueError(f"weight must be (post, pre), got shape {weight.shape}")
    for side, size in ((pre, weight.shape[1]), (post, weight.shape[0])):
        for name, array in side.items():
            if array.shape != (size,):
                raise ValueError(
                    f"{name} must be ({size},) for weight {weight.shape}, got {array.shape}"
                )
