"""Codes in which the time of a spike is the number: latency, phase, and changes of a signal.

Trains are (steps, ...) float32 of 0 and 1, time first, as in `coding`. Every code has its decoder,
and says how far off a number can come back.

Sources: latency: Thorpe, Delorme and Van Rullen 2001, "Spike-based strategies for rapid
processing"; phase: Kim, Kim, Huh, Lee and Choi 2018, "Deep neural networks with weighted spikes";
changes: Lichtsteiner, Posch and Delbruck 2008, "A 128×128 120 dB 15 µs latency
asynchronous temporal contrast vision sensor".
"""

import numpy as np
import numpy.typing as npt

from shared.tensors.dtypes import F32

I64 = npt.NDArray[np.int64]
BITS = 24  # as many as a float32 of 0..1 has


def latency(x: F32, *, steps: int) -> F32:
    """One spike each, the earlier the larger the number: in step round((1 - x) steps).

    1 spikes in the first step; what would spike after the last, as 0 does, is silent.

    Args:
        x: (...) float32, each in 0..1.
        steps: steps of the train.

    Returns:
        (steps, ...) float32 of 0 and 1.

    Raises:
        ValueError: a number is not in 0..1, or there is no step.
    """
    _require_shares(x)
    if steps < 1:
        raise ValueError(f"a train needs a step at least, got {steps}")
    when = np.rint((1.0 - x.astype(np.float64)) * steps)
    return np.asarray(_clock(steps, x.ndim) == when, dtype=np.float32)


def of_latency(train: F32) -> F32:
    """The numbers that `latency` told, each to within half a step: 1 / (2 steps).

    Args:
        train: (steps, ...) float32 of 0 and 1.

    Returns:
        (...) float32 of 0..1; 0 for a neuron that is silent.
    """
    return np.asarray(1.0 - first(train) / train.shape[0], dtype=np.float32)


def first(train: F32) -> I64:
    """The step of each neuron's first spike; for one that is silent, the number of steps.

    Args:
        train: (steps, ...) float32 of 0 and 1, at least one step.

    Returns:
        (...) int64 of 0..steps.

    Raises:
        ValueError: the train has no step.
    """
    if train.shape[0] == 0:
        raise ValueError(f"a train without steps has no first spike, got shape {train.shape}")
    fired = train > 0
    when = np.where(fired.any(axis=0), fired.argmax(axis=0), train.shape[0])
    return np.asarray(when, dtype=np.int64)


def earliest(train: F32) -> I64:
    """The neuron that spiked before all others; of equals, and where all are silent, the first.

    Args:
        train: (steps, ..., neurons) float32 of 0 and 1.

    Returns:
        (...) int64.
    """
    return np.asarray(first(train).argmin(axis=-1), dtype=np.int64)


def phase(x: F32, *, period: int, periods: int = 1) -> F32:
    """Numbers as binary places, told again in every period: step k of one weighs 2**-(k + 1).

    The number is rounded down to `period` places; 1 becomes the largest that they can tell.

    Args:
        x: (...) float32, each in 0..1.
        period: steps of a period, and binary places, 1..24.
        periods: how often the number is told.

    Returns:
        (period * periods, ...) float32 of 0 and 1.

    Raises:
        ValueError: a number is not in 0..1, or there are no such periods.
    """
    _require_shares(x)
    _require_period(period)
    if periods < 1:
        raise ValueError(f"a number is told once at least, got {periods} periods")
    code = np.minimum(np.floor(x * 2.0**period), 2.0**period - 1).astype(np.int64)
    place = period - 1 - _clock(period, x.ndim)
    once = ((code >> place) & 1).astype(np.float32)
    return np.tile(once, (periods, *(1,) * x.ndim))


def of_phase(train: F32, *, period: int) -> F32:
    """The mean of the numbers that the periods tell; less than 2**-period below what was told.

    Args:
        train: (period * periods, ...) float32 of 0 and 1.
        period: steps of a period, 1..24.

    Returns:
        (...) float32 of 0..1.

    Raises:
        ValueError: the train is not a whole number of periods.
    """
    _require_period(period)
    steps = train.shape[0]
    if steps == 0 or steps % period:
        raise ValueError(f"a train must be whole periods of {period} steps, got {steps}")
    weight = 2.0 ** -(_clock(steps, train.ndim - 1) % period + 1)
    return np.asarray((train * weight).sum(axis=0) / (steps // period), dtype=np.float32)


def delta(signal: F32, *, threshold: float) -> F32:
    """Changes of a signal: a spike that says up, or one that says down, for each threshold passed.

    What the spikes have told so far begins at the first value and moves by one threshold at most
    in a step, so that a signal that changes faster is followed late.

    Args:
        signal: (steps, ...) float32, at least one step.
        threshold: the change that a spike stands for, in the unit of the signal.

    Returns:
        (steps, ..., 2) float32 of 0 and 1: up, down.

    Raises:
        ValueError: the threshold is not positive and finite, a value is not finite, or no step.
    """
    _require_threshold(threshold)
    if signal.shape[0] == 0 or not np.isfinite(signal).all():
        raise ValueError(f"a signal must be finite and have a step, got shape {signal.shape}")
    train: F32 = np.zeros((*signal.shape, 2), np.float32)
    told = signal[0].astype(np.float64)
    for at, value in enumerate(signal):
        up, down = value - told >= threshold, told - value >= threshold
        train[at, ..., 0], train[at, ..., 1] = up, down
        told = told + threshold * (up.astype(np.float64) - down)
    return train


def of_delta(train: F32, start: F32, *, threshold: float) -> F32:
    """The signal that spikes up and down tell.

    Where the signal never changed by more than the threshold in a step, it is less than one
    threshold away.

    Args:
        train: (steps, ..., 2) float32 of 0 and 1.
        start: (...) float32, the first value.
        threshold: as it was encoded.

    Returns:
        (steps, ...) float32.

    Raises:
        ValueError: the threshold is not positive and finite.
    """
    _require_threshold(threshold)
    moved = (train[..., 0] - train[..., 1]).cumsum(axis=0, dtype=np.float64)
    return (start + threshold * moved).astype(np.float32)


def _clock(steps: int, beside: int) -> I64:
    """Numbers of the steps, (steps, 1, ...), to go with arrays of `beside` axes."""
    return np.arange(steps, dtype=np.int64).reshape(-1, *(1,) * beside)


def _require_shares(x: F32) -> None:
    if not ((x >= 0.0) & (x <= 1.0)).all():
        raise ValueError(f"numbers must be 0..1, got {x.min()}..{x.max()}")


def _require_period(period: int) -> None:
    if not 1 <= period <= BITS:
        raise ValueError(f"a period has 1 to {BITS} steps, got {period}")


def _require_threshold(threshold: float) -> None:
    if not 0.0 < threshold < np.inf:
        raise ValueError(f"threshold must be positive and finite, got {threshold}")
