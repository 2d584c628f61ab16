"""How many bits each layer gets: the choice of least summed loss that a budget allows, exactly.

A multiple-choice knapsack, solved by dynamic programming over the states that nothing else beats
(Nemhauser & Ullmann 1969): of two partial choices, one that costs more and loses more is dropped.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

MAX_STATES = 200_000


class Option(NamedTuple):
    """One way to store a layer."""

    name: str
    cost: float  # bytes, or seconds
    loss: float  # what the network's loss grows by


class _State(NamedTuple):
    cost: float
    loss: float
    chosen: tuple[int, ...]


def allocate(layers: Mapping[str, Sequence[Option]], budget: float) -> dict[str, Option]:
    """One option per layer with the least sum of losses at a sum of costs within the budget.

    Raises:
        ValueError: a layer has no option, a number is not finite, or even the cheapest choice is
            over the budget; names the smallest that can be reached.
    """
    for name, options in layers.items():
        if not options:
            raise ValueError(f"layer {name!r} has no option")
        if bad := next((one for one in options if not abs(one.cost) + abs(one.loss) < 1e300), None):
            raise ValueError(
                f"layer {name!r}: option {bad.name} costs {bad.cost}, loses {bad.loss}"
            )
    least = sum(min(one.cost for one in options) for options in layers.values())
    if least > budget:
        raise ValueError(f"the budget is {budget:g}, the smallest that can be reached {least:g}")
    rest = least
    states = [_State(0.0, 0.0, ())]
    for options in layers.values():
        rest -= min(one.cost for one in options)
        grown = [
            _State(state.cost + one.cost, state.loss + one.loss, (*state.chosen, at))
            for state in states
            for at, one in enumerate(options)
        ]
        states = _unbeaten(grown, budget - rest)
    best = min(states, key=lambda state: (state.loss, state.cost))
    return {
        name: options[at] for (name, options), at in zip(layers.items(), best.chosen, strict=True)
    }


def _unbeaten(states: list[_State], limit: float) -> list[_State]:
    """States within the limit that lose less than every cheaper one."""
    kept: list[_State] = []
    slack = 1e-9 * max(abs(limit), 1.0)  # sums of floats in another order
    for state in sorted(states, key=lambda state: (state.cost, state.loss)):
        if state.cost <= limit + slack and (not kept or state.loss < kept[-1].loss):
            kept.append(state)
    if len(kept) > MAX_STATES:
        raise ValueError(f"{len(kept)} partial choices, over the limit of {MAX_STATES}")
    return kept
