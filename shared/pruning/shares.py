"""How many weights each layer keeps, so that all layers together keep an exact number.

Sources: Mocanu et al. 2018, "Scalable training of artificial neural networks with adaptive sparse
connectivity inspired by network science" (ER); Evci et al. 2020, "Rigging the Lottery" (ERK).
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Literal

import numpy as np

from shared.pruning import masks

Shape = tuple[int, ...]
Rule = Literal["uniform", "er", "erk"]


def budgets(
    shapes: Mapping[str, Shape],
    sparsity: float,
    rule: Rule,
    units: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Weights, blocks or rows to keep by layer.

    uniform keeps the same share everywhere; er and erk keep shares in proportion to
    (inputs + outputs) / (inputs × outputs), erk with the sizes of a kernel among them. A layer that
    would keep more than it has stays dense, and the others share the rest.

    Args:
        shapes: by layer, (outputs, inputs, *kernel).
        sparsity: share of zeros over all layers together.
        units: by layer, how many blocks or rows it is kept or dropped by; None: single weights.

    Returns:
        By layer 0..its units; together exactly `masks.budget` of all units.

    Raises:
        ValueError: the sparsity is no share, or a shape has under two dimensions.
    """
    if bad := next((name for name, shape in shapes.items() if len(shape) < 2), None):
        raise ValueError(f"layer {bad!r} has shape {shapes[bad]}; a weight has outputs and inputs")
    sizes = dict(units or {name: prod(shape) for name, shape in shapes.items()})
    total = masks.budget(sum(sizes.values()), sparsity)
    raw = {name: _RULES[rule](shape) for name, shape in shapes.items()}
    return _rounded(_clipped(raw, sizes, total), sizes, total)


def _er(shape: Shape) -> float:
    outputs, inputs = shape[:2]
    return (outputs + inputs) / max(outputs * inputs, 1)


def _erk(shape: Shape) -> float:
    return sum(shape) / max(prod(shape), 1)


_RULES: dict[Rule, Callable[[Shape], float]] = {"uniform": lambda _: 1.0, "er": _er, "erk": _erk}


def _clipped(raw: Mapping[str, float], sizes: Mapping[str, int], total: int) -> dict[str, float]:
    """Weights to keep, not yet whole: in proportion to raw × size, none beyond its size."""
    full: set[str] = set()
    while True:
        left = total - sum(sizes[name] for name in full)
        shared = {name: raw[name] * sizes[name] for name in raw if name not in full}
        whole = sum(shared.values())
        scale = left / whole if whole else 0.0
        over = {name for name, share in shared.items() if share * scale > sizes[name]}
        if not over:
            return {
                name: float(sizes[name]) if name in full else shared[name] * scale for name in raw
            }
        full |= over


def _rounded(wanted: Mapping[str, float], sizes: Mapping[str, int], total: int) -> dict[str, int]:
    """Whole numbers that add up: rounded down, and one more for the largest remainders."""
    kept = {name: min(int(np.floor(value + 1e-9)), sizes[name]) for name, value in wanted.items()}
    order = sorted(wanted, key=lambda name: (kept[name] - wanted[name], name))
    missing = total - sum(kept.values())
    for name in order * 2:
        if missing > 0 and kept[name] < sizes[name]:
            kept[name] += 1
            missing -= 1
    return kept
