"""One step of an optimiser on one array; the same for dense weights and for stored non-zeros."""

from collections.abc import Mapping

import numpy as np

from shared.network.training.plan import Adam, Sgd
from shared.tensors.dtypes import F32

Slots = Mapping[str, F32]  # by name: what the optimiser remembers of each element


def empty(optimiser: Sgd | Adam, weight: F32) -> dict[str, F32]:
    """What an optimiser remembers before its first step: zeros of the weight's shape."""
    names = ("mean", "square") if isinstance(optimiser, Adam) else ("velocity",)
    return {name: np.zeros_like(weight) for name in names}


def step(
    optimiser: Sgd | Adam, weight: F32, slope: F32, slots: Slots, *, rate: float, count: int
) -> tuple[F32, dict[str, F32]]:
    """The weight and the slots after one step.

    Args:
        weight, slope: any shape, float32.
        slots: as `empty` names them.
        rate: learning rate of this step.
        count: steps taken with these slots, this one included.
    """
    if isinstance(optimiser, Adam):
        return _adam(optimiser, weight, slope, slots, np.float32(rate), count)
    whole = slope + np.float32(optimiser.decay) * weight if optimiser.decay else slope
    velocity = np.float32(optimiser.momentum) * slots["velocity"] + whole
    return weight - np.float32(rate) * velocity, {"velocity": velocity}


def _adam(
    plan: Adam, weight: F32, slope: F32, slots: Slots, rate: np.float32, count: int
) -> tuple[F32, dict[str, F32]]:
    """Kingma & Ba 2015, Algorithm 1, with the two corrections folded into the rate."""
    mean = slots["mean"] + np.float32(1 - plan.beta1) * (slope - slots["mean"])
    square = slots["square"] + np.float32(1 - plan.beta2) * (slope * slope - slots["square"])
    root = np.float32(np.sqrt(1 - plan.beta2**count))
    scale = rate * root / np.float32(1 - plan.beta1**count)
    spread: F32 = np.sqrt(square) + np.float32(plan.epsilon) * root
    moved: F32 = weight - scale * mean / spread
    if plan.decay:
        moved -= rate * np.float32(plan.decay) * weight
    return moved, {"mean": mean, "square": square}
