"""What holds for synapses whatever rule changes them: bounds, sums, delays."""

from dataclasses import dataclass

import numpy as np

from shared.tensors.dtypes import F32, I32


def bounded(
    weight: F32, gained: F32, lost: F32, *, low: float, high: float, softness: float = 0.0
) -> F32:
    """Weights after a change, between bounds: hard ones cut, soft ones slow down.

        w + gained (high - w)**softness - lost (w - low)**softness, clipped

    Args:
        weight, gained, lost: (post, pre) float32; changes are not negative.
        softness: 0: hard bounds; 1: changes in proportion to the way that is left.

    Raises:
        ValueError: the bounds are empty, or the softness is negative.

    Source: Gütig et al. 2003, "Learning Input Correlations through Nonlinear Temporally Asymmetric
    Hebbian Plasticity", equation 3.
    """
    if not low <= high:
        raise ValueError(f"low {low} exceeds high {high}")
    if not softness >= 0:
        raise ValueError(f"softness is not negative, got {softness}")
    held = np.clip(weight, np.float32(low), np.float32(high))
    above, below = (np.float32(high) - held), (held - np.float32(low))
    power = np.float32(softness)
    changed = held + gained * above**power - lost * below**power
    return np.asarray(np.clip(changed, np.float32(low), np.float32(high)), np.float32)


def normalized(weight: F32, total: float) -> F32:
    """Weights (post, pre) whose sum is `total` for every neuron; rows of zeros stay zero.

    Raises:
        ValueError: the total is not positive.
    """
    if not total > 0:
        raise ValueError(f"a sum of weights is positive, got {total}")
    sums = weight.sum(axis=1, keepdims=True, dtype=np.float32)
    factor = np.divide(np.float32(total), sums, out=np.zeros_like(sums), where=sums != 0)
    return np.asarray(weight * factor, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class UnderWay:
    """Spikes that have left and not yet arrived."""

    spikes: F32  # (longest delay, ..., neurons): what arrives in the next step first


def none_under_way(delays: I32, shape: tuple[int, ...] = ()) -> UnderWay:
    """Axons (neurons,) with delays of whole steps, before any spike; for batches of a shape.

    Raises:
        ValueError: a delay is negative.
    """
    if delays.size and delays.min() < 0:
        raise ValueError(f"delays are whole steps from 0, got {delays.min()}")
    longest = int(delays.max(initial=0))
    return UnderWay(np.zeros((longest, *shape, delays.size), np.float32))


def delayed(state: UnderWay, spikes: F32, delays: I32) -> tuple[UnderWay, F32]:
    """One step: spikes (..., neurons) set out, each arrives its neuron's delay later.

    Returns:
        What is under way after the step, and what arrives in it; a delay of 0 arrives at once.
    """
    line = np.concatenate([state.spikes, np.zeros_like(spikes)[np.newaxis]])
    for neuron, delay in enumerate(delays):
        line[delay, ..., neuron] += spikes[..., neuron]
    return UnderWay(line[1:]), line[0]
