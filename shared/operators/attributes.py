"""Attributes of a call, by kind. The spec has checked them: another kind is a mistake of ours.

Each raises TypeError for a value of another kind.
"""

import numpy as np

from shared.operators.spec import Attributes


def whole(attributes: Attributes, name: str) -> int:
    """A whole number."""
    value = attributes[name]
    if not isinstance(value, int):
        raise TypeError(f"attribute {name!r} is a whole number, got {value!r}")
    return value


def number(attributes: Attributes, name: str) -> float:
    """A number in float64."""
    value = attributes[name]
    if not isinstance(value, int | float):
        raise TypeError(f"attribute {name!r} is a number, got {value!r}")
    return float(value)


def single(attributes: Attributes, name: str) -> np.float32:
    """A number as every device sees it."""
    return np.float32(number(attributes, name))


def sizes(attributes: Attributes, name: str) -> tuple[int, ...]:
    """Some whole numbers."""
    value = attributes[name]
    if not isinstance(value, tuple):
        raise TypeError(f"attribute {name!r} is a tuple of whole numbers, got {value!r}")
    return value
