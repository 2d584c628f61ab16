"""Leaky neurons stepped in float64, and NIR files with cycles to hold against them."""

from collections.abc import Callable

import nir
import numpy as np

from shared.tensors.dtypes import F32
from tests.services.nir_files import (
    DT,
    Edges,
    affine,
    ends,
    spikes,
    written,
)

SPIKES = spikes(12)
Trains = np.ndarray


class Cells:
    """Leaky neurons in float64, a step at a time."""

    def __init__(self, node: nir.LIF, rows: int) -> None:
        self.node, self.left = node, np.exp(-DT / node.tau)
        self.v = np.tile(node.v_leak, (rows, 1))

    def step(self, current: Trains) -> Trains:
        node = self.node
        u = node.v_leak + self.left * (self.v - node.v_leak) + (1 - self.left) * node.r * current
        fired = u > node.v_threshold
        self.v = np.where(fired, node.v_reset, u)
        return fired.astype(float)


def through(node: nir.Affine, x: Trains) -> Trains:
    return np.asarray(x @ node.weight.T + node.bias)


def ago(trains: list[Trains], steps: int, like: Trains) -> Trains:
    return trains[-steps] if len(trains) >= steps else np.zeros_like(like)


def stepped(step: Callable[[Trains, list[Trains]], Trains], x: F32 = SPIKES) -> Trains:
    """What a step makes of every input, given all that it made before."""
    made: list[Trains] = []
    for at in range(x.shape[1]):
        made.append(step(x[:, at].astype(float), made))
    return np.stack(made, axis=1)


def looped(edges: Edges, **nodes: nir.NIRNode) -> bytes:
    first, last = ends(12, 5)
    return written({"input": first, **nodes, "output": last}, edges)


def differing(count: int, seed: int = 1) -> nir.LIF:
    """Neurons with constants of their own."""
    rng = np.random.default_rng(seed)
    return nir.LIF(
        tau=rng.uniform(0.004, 0.03, count),
        r=rng.uniform(8, 14, count),
        v_leak=rng.uniform(-0.2, 0.1, count),
        v_threshold=rng.uniform(0.7, 1.2, count),
        v_reset=rng.uniform(-0.3, 0.2, count),
    )


RECURRENT = [("input", "a"), ("a", "n"), ("n", "output"), ("n", "back"), ("back", "n")]


def recurrent(node: nir.NIRNode) -> bytes:
    """Five neurons that read themselves."""
    return looped(RECURRENT, a=affine(12, 5), n=node, back=affine(5, 5, seed=3))
