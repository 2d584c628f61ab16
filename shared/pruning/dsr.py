"""DSR: one threshold drops weights in all layers; they grow again where most survived.

Source: Mostafa & Wang 2019, "Parameter Efficient Training of Deep Convolutional Neural Networks by
Dynamic Sparse Reparameterization", Algorithm 1.
"""

from collections.abc import Mapping

import numpy as np

START = 1e-3  # the first threshold, as in the paper
TOLERANCE = 0.1  # share of the aim within which the threshold stays


def adapted(threshold: float, *, dropped: int, aim: int) -> float:
    """The next threshold: twice as high when too few were dropped, half when too many."""
    if dropped < (1 - TOLERANCE) * aim:
        return 2 * threshold
    if dropped > (1 + TOLERANCE) * aim:
        return threshold / 2
    return threshold


def reallocated(
    survivors: Mapping[str, int], sizes: Mapping[str, int], count: int
) -> dict[str, int]:
    """How many weights grow in each layer: in proportion to its survivors, as far as it has room.

    Args:
        survivors: stored weights by layer after the drop.
        sizes: elements by layer.
        count: weights to grow over all layers.

    Returns:
        By layer; together exactly `count`.

    Raises:
        ValueError: there is not so much room.
    """
    room = {name: sizes[name] - kept for name, kept in survivors.items()}
    if sum(room.values()) < count:
        raise ValueError(f"{count} weights cannot grow at {sum(room.values())} free positions")
    weights = {name: max(kept, 1) for name, kept in survivors.items()}
    total = sum(weights.values())
    given = {
        name: min(int(np.floor(count * weight / total)), room[name])
        for name, weight in weights.items()
    }
    left = count - sum(given.values())
    for name in sorted(weights, key=lambda name: (-weights[name], name)):
        more = min(left, room[name] - given[name])
        given[name] += more
        left -= more
    return given
