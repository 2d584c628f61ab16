"""A population of neurons of any model over many steps, and what it did in each."""

from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from shared.tensors.dtypes import F32


class State(Protocol):
    """What every model remembers."""

    @property
    def v(self) -> F32:
        """(..., neurons) membrane potentials [V]."""


S = TypeVar("S", bound=State)
P = TypeVar("P", contravariant=True)


class Step(Protocol[S, P]):
    """`step` of any model of neurons; `functools.partial` fixes the method of those with two."""

    def __call__(self, state: S, current: F32, params: P, /, *, dt: float) -> tuple[S, F32]:
        """The next state, and spikes."""


class Ran(NamedTuple, Generic[S]):
    """What many steps made."""

    spikes: F32  # (..., steps, neurons) of 0 and 1
    v: F32  # (..., steps, neurons) potentials after each step, and its resets [V]
    state: S  # after the last step


def run(step: Step[S, P], state: S, current: F32, params: P, *, dt: float) -> Ran[S]:
    """Many steps of `dt` [s].

    Calls in a row continue one another: the state that one leaves is where the next begins.

    Args:
        step: of a model, `lif.step` say.
        state: (..., neurons) before the first step.
        current: (..., steps, neurons) float32 [A]: the batch first, if there is one.

    Raises:
        ValueError: as `step` does, or the current has no axis of steps.
    """
    if current.ndim < 2:
        raise ValueError(f"current must be (..., steps, neurons), got shape {current.shape}")
    spikes, v = np.zeros_like(current), np.zeros_like(current)
    for at in range(current.shape[-2]):
        state, spikes[..., at, :] = step(state, current[..., at, :], params, dt=dt)
        v[..., at, :] = state.v
    return Ran(spikes, v, state)
