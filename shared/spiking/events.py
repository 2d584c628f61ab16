"""Streams of events, each a time and the address of the neuron that spiked, and dense trains.

Step k of a train takes the events from k dt until before (k + 1) dt; a time within rounding of a
boundary lies on it. A step holds one spike of a neuron at most: what else comes in it is not kept,
but counted. The spikes of a train become events at the beginnings of their steps, in the order of
time and then of address, so that

    to_train(of_train(train)) = train                      whatever the train, and
    of_train(to_train(events)) = events                    at multiples of dt, in order, each once

Source: address-event representation: Boahen 2000, "Point-to-point connectivity between neuromorphic
chips using address events".
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.spiking import membrane
from shared.tensors.dtypes import F32

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Spikes in the order of their times."""

    times: F64  # (events,) [s]
    addresses: I64  # (events,)

    def __post_init__(self) -> None:
        """Refuse what is no stream.

        Raises:
            ValueError: names the first event that is wrong, and why.
        """
        if self.times.ndim != 1 or self.times.shape != self.addresses.shape:
            raise ValueError(
                f"times {self.times.shape} and addresses {self.addresses.shape} must be one each"
            )
        if self.times.dtype != np.float64:
            raise ValueError(f"times must be float64, got {self.times.dtype}")
        if self.addresses.dtype.kind not in "iu":
            raise ValueError(f"addresses are whole numbers, got {self.addresses.dtype}")
        _refuse(~(np.isfinite(self.times) & (self.times >= 0.0)), self.times, "is no time [s]")
        early = np.diff(self.times, prepend=0.0) < 0.0
        _refuse(early, self.times, "comes before the event ahead of it [s]")
        _refuse(self.addresses < 0, self.addresses, "is no address")


class Binned(NamedTuple):
    """Events as a dense train."""

    train: F32  # (steps, neurons) of 0 and 1
    lost: int  # events that came when their neuron had already spiked in the step


def to_train(events: Events, *, steps: int, neurons: int, dt: float) -> Binned:
    """Events in steps of `dt` [s].

    Raises:
        ValueError: an event comes after the last step or from a neuron that is not there; names
            the first; or dt is not positive.
    """
    membrane.require_step(dt)
    step = steps_of(events.times, dt=dt)
    _refuse(step >= steps, events.times, f"is after the end of {steps} steps of {dt} s")
    _refuse(events.addresses >= neurons, events.addresses, f"is not one of {neurons} neurons")
    train: F32 = np.zeros((steps, neurons), np.float32)
    train[step.astype(np.int64), events.addresses] = 1.0
    return Binned(train, len(step) - int(train.sum(dtype=np.float64)))


def of_train(train: F32, *, dt: float) -> Events:
    """The spikes of a train.

    Args:
        train: (steps, neurons) float32 of 0 and 1.

    Raises:
        ValueError: it is no such train, or dt is not positive.
    """
    membrane.require_step(dt)
    if train.ndim != 2 or not ((train == 0) | (train == 1)).all():
        raise ValueError(f"a train is (steps, neurons) of 0 and 1, got shape {train.shape}")
    step, address = np.nonzero(train)
    return Events(step.astype(np.float64) * dt, address.astype(np.int64))


def steps_of(times: F64, *, dt: float) -> F64:
    """The step in which each time lies, as whole float64."""
    passed = times / dt
    nearest = np.rint(passed)
    return np.where(
        np.abs(passed - nearest) <= membrane.ROUNDING * nearest, nearest, np.floor(passed)
    )


def _refuse(wrong: npt.NDArray[np.bool_], values: F64 | I64, why: str) -> None:
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(f"event {at}: {values[at]} {why}")
