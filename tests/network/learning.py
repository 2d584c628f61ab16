"""Runs of training by the reference, on clouds of points, and how well they went."""

import numpy as np

from shared.network import execute
from shared.network.graph import Network
from shared.network.training import backward, loop
from shared.network.training.loop import Rows
from shared.network.training.plan import TrainPlan
from shared.network.training.state import TrainState
from shared.operators.reference import ReferenceBackend
from shared.tensors.layouts import dense

RUN = backward.on(ReferenceBackend())


def clouds(classes: int, points: int, *, apart: float, wide: float) -> Rows:
    """Points in eight dimensions; their labels say around which centre they lie."""
    rng = np.random.default_rng(4)
    labels = rng.integers(0, classes, points)
    centres = rng.standard_normal((classes, 8)) * apart
    x = centres[labels] + rng.standard_normal((points, 8)) * wide
    return Rows(x.astype(np.float32), labels)


def go_on(found: TrainState, plan: TrainPlan, rows: Rows, *, stop: int | None = None) -> TrainState:
    """The state at the end of a run, or at step `stop` of it."""
    while not loop.finished(found, plan, len(rows.x)) and found.step != stop:
        found = loop.advance(found, plan, rows, RUN)
    return found


def accuracy(network: Network, rows: Rows) -> float:
    """The share of rows whose largest score is that of their label."""
    scores = execute.load(network, ReferenceBackend()).run({"x": dense(rows.x)})["y"].values
    return float((scores.argmax(axis=1) == rows.y).mean())
