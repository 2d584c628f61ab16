"""Numbers to spike trains and back. A train is (steps, ...) float32 of 0 and 1, time first.

A rate r [Hz] becomes the probability, or the share, p = r dt of spiking in one step, so a train of
T seconds has r T spikes on average. One step holds one spike at most: r dt must not exceed 1.

Source: Gerstner, Kistler, Naud and Paninski, "Neuronal Dynamics", 2014, section 7.2.
"""

import numpy as np
import numpy.typing as npt

from shared.tensors.dtypes import F32


def poisson(rate: F32, *, steps: int, dt: float, rng: np.random.Generator) -> F32:
    """Independent random spikes of the given rate (a Bernoulli draw per step).

    Args:
        rate: (...) float32 [Hz], each in 0..1/dt.
        steps: steps of the train.
        dt: length of a step [s].
        rng: the only source of chance.

    Returns:
        (steps, ...) float32 of 0 and 1.

    Raises:
        ValueError: a rate is negative, NaN or above one spike per step.
    """
    share = _share(rate, steps, dt)
    return np.asarray(rng.random((steps, *rate.shape)) < share, dtype=np.float32)


def regular(rate: F32, *, steps: int, dt: float) -> F32:
    """Evenly spaced spikes without chance: the k-th comes when r t reaches k.

    After n steps exactly floor(n r dt) spikes have come; r dt is a float64.

    Args:
        rate: (...) float32 [Hz], each in 0..1/dt.
        steps: steps of the train.
        dt: length of a step [s].

    Returns:
        (steps, ...) float32 of 0 and 1.

    Raises:
        ValueError: a rate is negative, NaN or above one spike per step.
    """
    share = _share(rate, steps, dt)
    ends = np.arange(steps + 1, dtype=np.float64).reshape(-1, *(1,) * rate.ndim)
    total: npt.NDArray[np.float64] = np.floor(ends * share)
    train: F32 = np.diff(total, axis=0).astype(np.float32)
    return train


def count(train: F32) -> F32:
    """Spikes of each neuron.

    Args:
        train: (steps, ...) float32 of 0 and 1.

    Returns:
        (...) float32.
    """
    return np.asarray(train.sum(axis=0), dtype=np.float32)


def mean_rate(train: F32, *, dt: float) -> F32:
    """Spikes per second of each neuron.

    Args:
        train: (steps, ...) float32 of 0 and 1, at least one step.
        dt: length of a step [s].

    Returns:
        (...) float32 [Hz].

    Raises:
        ValueError: the train has no step.
    """
    if train.shape[0] == 0:
        raise ValueError(f"a train without steps has no rate, got shape {train.shape}")
    return count(train) / np.float32(train.shape[0] * dt)


def loudest(train: F32) -> npt.NDArray[np.int64]:
    """The neuron that spiked most; of equals, the first.

    Args:
        train: (steps, ..., neurons) float32 of 0 and 1.

    Returns:
        (...) int64.
    """
    return np.asarray(count(train).argmax(axis=-1), dtype=np.int64)


def highest(v: F32) -> npt.NDArray[np.int64]:
    """The neuron whose potential came highest; of equals, the first.

    Args:
        v: (steps, ..., neurons) float32, at least one step [V].

    Returns:
        (...) int64.

    Raises:
        ValueError: there is no step, or a potential is not a number.
    """
    if v.shape[0] == 0 or np.isnan(v).any():
        raise ValueError(f"potentials must be numbers and have a step, got shape {v.shape}")
    return np.asarray(v.max(axis=0).argmax(axis=-1), dtype=np.int64)


def vote(train: F32, owners: npt.NDArray[np.int64], *, classes: int) -> npt.NDArray[np.int64]:
    """The class whose neurons spiked most on average; of equals, the first.

    Args:
        train: (steps, ..., neurons) float32 of 0 and 1.
        owners: (neurons,) int64, the class of each neuron, 0..classes - 1.
        classes: how many there are; one that owns no neuron is never elected.

    Returns:
        (...) int64.

    Raises:
        ValueError: the owners do not fit the neurons or the classes, or own nothing.

    Source: Diehl and Cook 2015, "Unsupervised learning of digit recognition using
    spike-timing-dependent plasticity", section 2.6.
    """
    if owners.shape != train.shape[-1:] or not owners.size:
        raise ValueError(f"owners {owners.shape} must be one for each neuron of {train.shape}")
    if owners.min() < 0 or owners.max() >= classes:
        raise ValueError(f"owners must be 0..{classes - 1}, got {owners.min()}..{owners.max()}")
    mine = np.eye(classes)[owners]
    owned = mine.sum(axis=0)
    mean = count(train) @ mine / np.maximum(owned, 1.0)
    return np.asarray(np.where(owned > 0, mean, -1.0).argmax(axis=-1), dtype=np.int64)


def _share(rate: F32, steps: int, dt: float) -> npt.NDArray[np.float64]:
    if steps < 0 or not dt > 0.0:
        raise ValueError(f"a train needs steps >= 0 and dt > 0, got {steps} steps of {dt} s")
    share = rate.astype(np.float64) * dt
    # 1 / dt as a float32 may be half a unit too large; that much is no error.
    if not ((share >= 0.0) & (share <= 1.0 + np.finfo(np.float32).eps)).all():
        low, high = rate.min(), rate.max()
        raise ValueError(f"rates must be 0..{1.0 / dt} Hz for steps of {dt} s, got {low}..{high}")
    return np.minimum(share, 1.0)
