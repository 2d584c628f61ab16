"""Judging whether to keep a smaller network, and the rows that it is judged on."""

from dataclasses import replace
from math import isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.compressor import labelled, verdict
from services.compressor.verdict import Quality, Terms
from shared.contracts.errors import InvalidTensor, NonFiniteInput
from shared.contracts.v1.jobs import BlobRef
from shared.contracts.v1.models import ModelManifest, PortSignature, Variant
from shared.tensors import layouts
from shared.tensors.layouts import Tensor
from tests.network.networks import f32

GOOD = Quality(correct=95, rows=100, seconds=2e-3, bytes=4000)
TERMS = Terms("latency", 0.01, "cpu")


def test_the_interval_of_wilson_matches_the_published_example() -> None:
    interval = verdict.wilson(15, 148)  # Newcombe 1998, table I: 0.0624 to 0.1605

    assert isclose(interval.low, 0.0624, abs_tol=1e-4)
    assert isclose(interval.high, 0.1605, abs_tol=1e-4)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_an_interval_holds_its_share_and_stays_within_0_and_1(rows: int, share: float) -> None:
    interval = verdict.wilson(round(rows * share), rows)

    assert 0.0 <= interval.low <= interval.share + 1e-12
    assert interval.share - 1e-12 <= interval.high <= 1.0


def test_a_faster_candidate_as_accurate_is_accepted_with_its_numbers() -> None:
    judged = verdict.judge(GOOD, replace(GOOD, seconds=1e-3, bytes=1000), TERMS)

    assert judged.accepted
    assert judged.reason == (
        "accepted: accuracy 95.00% (88.82% to 97.85% on 100 rows) against 95.00%, "
        "1.000 ms against 2.000 ms per call on cpu, 1000 against 4000 bytes"
    )


def test_a_drop_of_exactly_the_limit_is_accepted() -> None:
    candidate = replace(GOOD, correct=94, seconds=1e-3)

    assert verdict.judge(GOOD, candidate, TERMS).accepted


def test_a_candidate_that_lost_accuracy_is_refused_by_how_much() -> None:
    judged = verdict.judge(GOOD, replace(GOOD, correct=90, seconds=1e-3), TERMS)

    assert not judged.accepted
    assert judged.reason.startswith("refused, accuracy fell by 5.00 points, over 1.00: ")


@pytest.mark.parametrize(
    ("objective", "seconds", "size", "accepted"),
    [
        ("latency", 1e-3, 9000, True),
        ("latency", 1.99e-3, 1000, False),  # 0.5 % is noise
        ("size", 9e-3, 1000, True),
        ("size", 1e-3, 3999, False),
        ("accuracy", 9e-3, 9000, True),
        ("both", 1e-3, 1000, True),
        ("both", 1e-3, 4000, False),
        ("both", 2e-3, 1000, False),
    ],
)
def test_each_objective_asks_for_its_own_gain(
    objective: verdict.Objective, seconds: float, size: int, accepted: bool
) -> None:
    candidate = replace(GOOD, seconds=seconds, bytes=size)

    judged = verdict.judge(GOOD, candidate, Terms(objective, 0.01, "cpu"))

    assert judged.accepted is accepted


def test_every_missed_condition_is_named() -> None:
    worse = Quality(correct=50, rows=100, seconds=4e-3, bytes=8000)

    reason = verdict.judge(GOOD, worse, Terms("both", 0.01, "cpu")).reason

    assert "fell by 45.00 points" in reason
    assert "not fast enough (2.00 of the baseline, wanted 0.98)" in reason
    assert "not small enough (2.00 of the baseline" in reason


# The rows of a job

MANIFEST = ModelManifest(
    model="digits",
    inputs=(PortSignature(name="pixels", dtype="f32", shape=(-1, 2)),),
    outputs=(PortSignature(name="scores", dtype="f32", shape=(-1, 3)),),
    variants=(Variant(name="dense", artifact=BlobRef(sha256="0" * 64, size=1), weight_bytes=1),),
)
X, LABELS = f32([1, 2], [3, 4]), layouts.dense(np.array([0, 2]))


def test_rows_are_repeated_to_fill_a_batch() -> None:
    rows = labelled.read(MANIFEST, {"x": X, "labels": LABELS})

    np.testing.assert_array_equal(rows.batch(3)["pixels"].values, [[1, 2], [3, 4], [1, 2]])


def test_a_row_of_nan_scores_counts_as_wrong() -> None:
    rows = labelled.read(MANIFEST, {"x": X, "labels": LABELS})

    hits = rows.correct(np.array([[np.nan, 0, 0], [0, 1, 2]], np.float32))

    assert hits == 1  # NaN would be the first largest


def integers(*values: int) -> Tensor:
    return layouts.dense(np.array(values))


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        ({"x": X}, "needs tensors 'x' and 'labels'"),
        ({"x": X, "labels": LABELS, "more": X}, "needs tensors"),
        ({"x": f32([1, 2, 3]), "labels": integers(0)}, r"x is f32 \(n, 2\), not f32 \(1, 3\)"),
        ({"x": layouts.dense(np.zeros((2, 2))), "labels": LABELS}, "not f64"),
        ({"x": X, "labels": integers(0)}, "one integer per row"),
        ({"x": X, "labels": f32(0, 1)}, "one integer per row"),
        ({"x": layouts.dense(np.zeros((0, 2), np.float32)), "labels": integers()}, "at least one"),
        ({"x": X, "labels": integers(0, 3)}, "label 3 is not one of the 3 classes"),
        ({"x": X, "labels": integers(-1, 0)}, "label -1"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tensors: dict[str, Tensor], why: str) -> None:
    with pytest.raises(InvalidTensor, match=why):
        labelled.read(MANIFEST, tensors)


def test_rows_with_nan_are_refused() -> None:
    with pytest.raises(NonFiniteInput):
        labelled.read(MANIFEST, {"x": f32([1, np.nan], [0, 0]), "labels": LABELS})


def test_a_model_without_scores_cannot_be_judged() -> None:
    scalar = PortSignature(name="scores", dtype="f32", shape=(-1,))

    with pytest.raises(InvalidTensor, match="labels need scores"):
        labelled.read(
            MANIFEST.model_copy(update={"outputs": (scalar,)}), {"x": X, "labels": LABELS}
        )
