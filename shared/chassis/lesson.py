"""What a `train` job without labels is about: rows, a plan, and neurons to begin with, checked."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shared.chassis import learned
from shared.contracts.errors import InvalidMessage, InvalidTensor
from shared.contracts.v1.jobs import TrainBody
from shared.network.training import competitive
from shared.network.training.competitive import Competitive, Learned
from shared.network.training.loop import Rows
from shared.network.training.voting import Held
from shared.tensors.layouts import Tensor

HELD_X, HELD_LABELS = "x", "labels"
CALLED = ("x", "scores")  # input and output of a network that the job makes


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What is shown to whom, and what it is judged on. `y` of rows are labels, (n,) int64."""

    plan: Competitive
    rows: Rows
    held: Rows | None
    classes: int
    begun: Learned  # before the first row
    x: str
    scores: str

    @property
    def total(self) -> int:
        """Showings of all epochs."""
        return self.plan.epochs * len(self.rows.x)


def of(body: TrainBody, tensors: Mapping[str, Tensor], held: Held | None) -> Lesson:
    """Put together what a job asks for.

    Args:
        held: what its artifact holds; None: the job makes one.

    Raises:
        InvalidMessage: the plan makes no sense, or not for that artifact.
        InvalidTensor: rows or labels are missing, or do not fit the plan, or each other.
    """
    settings = plan(body, held)
    rows = _rows(learned.X, learned.LABELS, tensors, settings)
    classes = held.classes if held else int(rows.y.max()) + 1
    judged_on = None
    if HELD_X in tensors or HELD_LABELS in tensors:
        judged_on = _rows(HELD_X, HELD_LABELS, tensors, settings)
        _require_same(judged_on.x.shape[1], rows.x.shape[1], HELD_X, "train_x has")
    _require_classes(classes, settings)
    for name, one in ((learned.LABELS, rows), (HELD_LABELS, judged_on)):
        if one is not None and one.y.max() >= classes:
            raise InvalidTensor(f"{name}: label {one.y.max()} is not one of the {classes} classes")
    x, scores = (held.x, held.scores) if held else CALLED
    begun = _begun(body, rows, settings, held)
    return Lesson(settings, rows, judged_on, classes, begun, x, scores)


def plan(body: TrainBody, held: Held | None = None) -> Competitive:
    """How neurons learn: as the body says, else the artifact, else by default.

    Raises:
        InvalidMessage: a number is out of its range, or another than the artifact's.
    """
    asked = body.stdp.model_dump(exclude_none=True) if body.stdp else {}
    says = dict(held.says) if held else {}
    if held and not body.fresh and asked.get("neurons", says["neurons"]) != says["neurons"]:
        raise InvalidMessage(
            f"body.stdp: the network has {says['neurons']} neurons, not {asked['neurons']}; "
            "set `fresh` to begin with as many new ones"
        )
    try:
        return Competitive(**{**says, **asked}, epochs=body.epochs, seed=body.seed)
    except ValueError as error:
        raise InvalidMessage(f"body.stdp: {error}") from None


def _rows(x: str, labels: str, tensors: Mapping[str, Tensor], settings: Competitive) -> Rows:
    found = learned.rows_of(tensors, x, labels)
    if found.x.dtype != np.float32:
        raise InvalidTensor(f"{x} is {found.x.dtype}; send float32 from 0 to 1")
    try:
        competitive.require(found.x.view(np.float32), settings)
    except ValueError as error:
        raise InvalidTensor(f"{x}: {error}") from None
    if found.y.ndim != 1 or found.y.dtype.kind not in "iu":
        raise InvalidTensor(f"{labels} is {found.y.dtype} {found.y.shape}, not one integer per row")
    if (low := found.y.min()) < 0:
        raise InvalidTensor(f"{labels}: label {low} is negative; classes count from 0")
    return Rows(found.x, found.y.astype(np.int64))


def _require_classes(classes: int, settings: Competitive) -> None:
    """A neuron stands for one class, so there are no more classes than neurons."""
    if not 2 <= classes <= settings.neurons:
        raise InvalidTensor(
            f"{learned.LABELS}: labels go up to {classes - 1}, which is {classes} classes; there "
            f"may be 2 to {settings.neurons}, one for each neuron"
        )


def _require_same(columns: int, wanted: int, name: str, whose: str) -> None:
    if columns != wanted:
        raise InvalidTensor(f"{name} has {columns} columns, {whose} {wanted}")


def _begun(body: TrainBody, rows: Rows, settings: Competitive, held: Held | None) -> Learned:
    inputs = rows.x.shape[1]
    if held is not None:
        wanted = held.learned.weight.shape[1]
        _require_same(inputs, wanted, learned.X, "the network takes")
    if held is None or body.fresh:
        return competitive.start(inputs, settings)
    return competitive.scaled(held.learned, settings)
