"""Axons that take their time: every input's spikes arrive whole steps after they were sent.

    arrives(t, k) = sent(t - steps_k, k)

A delay of 0 arrives in the step in which it is sent. What is under way is the state, so that a run
may be cut anywhere. Delays are rounded to the nearest step.

Source: Morrison, Mehring, Geisel, Aertsen and Diesmann 2005, "Advancing the boundaries of
high-connectivity network simulation with distributed computing" (delays on a grid of time).
"""

from dataclasses import dataclass
from math import inf

import numpy as np

from shared.spiking import membrane
from shared.tensors.dtypes import F32, I32


@dataclass(frozen=True, slots=True)
class DelayParams:
    """How long spikes are under way."""

    delays: tuple[float, ...]  # one per input [s]

    def __post_init__(self) -> None:
        """Refuse spikes that arrive before they are sent, or never.

        Raises:
            ValueError: names the delay and its input.
        """
        for at, delay in enumerate(self.delays):
            if not 0.0 <= delay < inf:
                raise ValueError(f"delays must be 0 s or more and finite, got {delay} s at {at}")


@dataclass(frozen=True, slots=True, eq=False)
class DelayState:
    """What is under way."""

    coming: F32  # (longest, inputs) of 0 and 1; the first row arrives in the next step


def discretize(params: DelayParams, *, dt: float) -> I32:
    """Whole steps of `dt` [s] that spikes are under way, (inputs,) int32.

    Raises:
        ValueError: dt is not positive and finite.
    """
    membrane.require_step(dt)
    return np.rint(np.array(params.delays, np.float64) / dt).astype(np.int32)


def empty(params: DelayParams, *, dt: float) -> DelayState:
    """Axons in which nothing is under way.

    Raises:
        ValueError: dt is not positive and finite.
    """
    steps = discretize(params, dt=dt)
    return DelayState(np.zeros((int(steps.max(initial=0)), len(steps)), np.float32))


def step(
    state: DelayState, spikes: F32, params: DelayParams, *, dt: float
) -> tuple[DelayState, F32]:
    """Send spikes, and receive those that arrive in this step.

    Args:
        state: what is under way, from `empty` with the same parameters and `dt`.
        spikes: (inputs,) float32 of 0 and 1, sent in this step.

    Returns:
        What is under way after it, and (inputs,) float32 spikes that arrive.

    Raises:
        ValueError: dt is not positive and finite, or a shape does not fit the delays.
    """
    return advance(state, spikes, discretize(params, dt=dt))


def advance(state: DelayState, spikes: F32, steps: I32) -> tuple[DelayState, F32]:
    """The same for delays in whole steps, (inputs,) int32.

    Raises:
        ValueError: a shape does not fit the delays.
    """
    wanted = (int(steps.max(initial=0)), len(steps))
    if spikes.shape != steps.shape:
        raise ValueError(f"spikes must be {steps.shape} for as many delays, got {spikes.shape}")
    if state.coming.shape != wanted:
        raise ValueError(f"coming must be {wanted} for these delays, got {state.coming.shape}")
    coming = np.concatenate([state.coming, np.zeros((1, len(steps)), np.float32)])
    coming[steps, np.arange(len(steps))] = spikes
    return DelayState(coming[1:]), coming[0]
