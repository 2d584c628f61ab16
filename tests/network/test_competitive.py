"""Neurons that compete divide what they are shown among themselves, without a label."""

import numpy as np
import pytest

from shared.network import execute
from shared.network.training import competitive, voting
from shared.network.training.competitive import Competitive, Learned
from shared.operators.reference import ReferenceBackend
from shared.tensors.dtypes import F32
from shared.tensors.layouts import dense
from tests.network.learning import RUN

CLASSES, INPUTS = 3, 12
PLAN = Competitive(neurons=18, steps=40, epochs=3, peak=0.5, total=0.25, a_plus=0.1, seed=4)


@pytest.fixture(scope="module")
def rows() -> tuple[F32, np.ndarray]:
    """Bars: each class lights its own third of the inputs, with noise."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, CLASSES, 60)
    x = rng.random((60, INPUTS)) * 0.1
    for row, label in enumerate(labels):
        x[row, label * 4 : label * 4 + 4] += 0.75
    return x.astype(np.float32), labels


@pytest.fixture(scope="module")
def found(rows: tuple[F32, np.ndarray]) -> Learned:
    return competitive.fit(rows[0], PLAN, RUN)


def test_neurons_find_the_classes_without_labels(
    rows: tuple[F32, np.ndarray], found: Learned
) -> None:
    x, labels = rows
    answers = competitive.responses(found, x, PLAN, RUN)
    stands = competitive.standing(answers, labels, CLASSES)
    network = voting.network(found, stands, CLASSES, PLAN)

    loaded = execute.load(network, ReferenceBackend())
    scores = np.concatenate(
        [loaded.run({"x": dense(row[np.newaxis])})["scores"].values for row in x]
    )

    assert set(stands) - {competitive.NONE} == {0, 1, 2}
    assert (scores.argmax(axis=1) == labels).mean() > 0.95


def test_weights_of_every_neuron_keep_their_sum_and_sign(found: Learned) -> None:
    np.testing.assert_allclose(found.weight.sum(axis=1), 0.25 * INPUTS, rtol=1e-5)
    assert found.weight.min() >= 0


def test_neurons_that_fire_tire(found: Learned) -> None:
    assert found.theta.min() >= 0
    assert found.theta.max() > 0


def test_same_seed_learns_the_same(rows: tuple[F32, np.ndarray], found: Learned) -> None:
    again = competitive.fit(rows[0], PLAN, RUN)

    np.testing.assert_array_equal(again.weight, found.weight)
    np.testing.assert_array_equal(again.theta, found.theta)


def test_answers_teach_nothing(rows: tuple[F32, np.ndarray], found: Learned) -> None:
    after, fired = competitive.show(found, rows[0][0], PLAN, RUN, learns=False, seed=1)

    assert after is found
    assert 0 < fired.sum() <= 1  # at most one neuron in every step


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("neurons", 0, "neurons is 1 to 16384, got 0"),
        ("peak", 1.5, r"peak is a share of 0\.\.1, got 1\.5"),
        ("tau_plus", 0.0, r"tau_plus is positive, got 0\.0"),
    ],
)
def test_plan_that_cannot_learn_is_refused(name: str, value: float, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Competitive(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (np.full((2, 3), 1.5, np.float32), r"shares of 0\.\.1, got 1\.5 to 1\.5"),
        (np.zeros((0, 3), np.float32), r"one of each at least, got \(0, 3\)"),
        (np.full((2, 3), np.nan, np.float32), "shares of"),
    ],
)
@pytest.mark.filterwarnings("ignore:All-NaN")
def test_rows_that_are_no_shares_are_refused(x: F32, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        competitive.fit(x, PLAN, RUN)


def test_a_run_may_be_cut_anywhere() -> None:
    whole = list(competitive.order(PLAN, 7))

    assert list(competitive.order(PLAN, 7, begin=10)) == whole[10:]
    assert sorted(row for row, _ in whole) == sorted([*range(7)] * 3)  # every row in every epoch


def test_a_neuron_stands_for_the_class_it_answers_most_on_average_or_for_none() -> None:
    labels = np.array([0, 0, 0, 2])  # no row of class 1
    answers = np.array([[0.3, 0, 0], [0.3, 0, 0.1], [0.3, 0, 0], [0.8, 0, 0]], np.float32)

    stands = competitive.standing(answers, labels, CLASSES)

    # means of 0: 0.3, 0, 0.033; of 2: 0.8, 0, 0
    assert stands.tolist() == [2, competitive.NONE, 0]


@pytest.mark.parametrize(
    ("plan", "shape", "told"),
    [
        (
            Competitive(neurons=16_384),
            (1, 1025),
            "16384 neurons of 1025 inputs are 16793600, over the limit of 16777216; take fewer",
        ),
        (
            Competitive(neurons=1, epochs=100_000),
            (101, 1),
            "100000 epochs of 101 rows are 10100000, over the limit of 10000000; take fewer",
        ),
    ],
)
def test_too_much_work_is_refused_before_it_begins(
    plan: Competitive, shape: tuple[int, int], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        competitive.require(np.zeros(shape, np.float32), plan)
