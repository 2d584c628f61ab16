"""Training with rounded weights gives back what rounding took, and ends in codes."""

from dataclasses import replace

import numpy as np
import pytest

from shared.network import execute, rewrites
from shared.network.graph import Network
from shared.network.training import loop, rounding, state
from shared.network.training.loop import Rows
from shared.network.training.plan import Adam, RoundingPlan, Sgd, SparsePlan, TrainPlan
from shared.network.training.state import TrainState
from shared.operators.reference import ReferenceBackend
from shared.quantization import affine, scheme
from shared.tensors.layouts import Layout, dense
from tests.network import learning, networks
from tests.network.learning import RUN, accuracy

TWO_BITS = RoundingPlan(bits=2, group=8, begin=0.0)


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Eight clouds of points in eight dimensions, close to each other."""
    return learning.clouds(8, 600, apart=1.5, wide=0.7)


def run(plan: TrainPlan, rows: Rows, network: Network, *, stop: int | None = None) -> TrainState:
    return learning.go_on(loop.start(network, plan), plan, rows, stop=stop)


@pytest.fixture(scope="module")
def whole(rows: Rows) -> Network:
    """Trained in float32."""
    plan = TrainPlan(epochs=20, batch=50, rate=3e-3)
    network = networks.mlp((8, 24, 24, 8), ("dense",) * 3)
    return learning.go_on(loop.start(network, plan, fresh=True), plan, rows).network


def rounded_at_once(network: Network) -> Network:
    chosen = scheme.of(2, 8)
    made = {
        name: affine.quantize(network.weights[step.inputs["weight"]].values.view("<f4"), chosen)
        for name, step in rewrites.products(network).items()
    }
    return rewrites.with_weights(network, made)


@pytest.mark.parametrize("optimiser", [Adam(), Sgd()])
def test_training_gives_back_most_of_what_two_bits_took(
    optimiser: Adam | Sgd, whole: Network, rows: Rows
) -> None:
    rate = 2e-3 if isinstance(optimiser, Adam) else 1e-2
    plan = TrainPlan(epochs=15, batch=50, rate=rate, optimiser=optimiser, rounding=TWO_BITS)

    tuned = loop.result(run(plan, rows, whole), plan)

    before, after = accuracy(rounded_at_once(whole), rows), accuracy(tuned, rows)
    lost = accuracy(whole, rows) - before
    assert lost > 0.1
    assert accuracy(whole, rows) - after < lost / 2


def test_the_result_is_codes_and_computes_what_training_did(whole: Network, rows: Rows) -> None:
    plan = TrainPlan(epochs=2, batch=50, rounding=TWO_BITS)
    found = run(plan, rows, whole)

    coded = loop.result(found, plan)

    x = {"x": dense(rows.x)}
    mine = execute.load(coded, ReferenceBackend()).run(x)["y"].values
    trained = execute.load(rounding.rounded(found, plan), ReferenceBackend()).run(x)["y"].values
    np.testing.assert_allclose(mine, trained, rtol=1e-5, atol=1e-6)
    assert {w.layout for w in coded.weights.values()} == {Layout.INT_GROUP, Layout.DENSE}
    assert coded.weight_bytes < whole.weight_bytes / 3


def test_slopes_pass_inside_the_range_and_sizes_follow_the_paper() -> None:
    network = networks.mlp((2, 1), ("dense",))
    weight = np.array([[0.6, 5.0]], dtype=np.float32)
    network.weights["w0"].parts["values"][:] = weight  # type: ignore[index]
    plan = TrainPlan(rounding=RoundingPlan(bits=2, group=2, begin=0.0))
    begun = rounding.begin(loop.start(network, plan), plan, 10)
    begun.slots["w0"][rounding.SIZE][:] = 1.0  # type: ignore[index]

    both = rounding.passed(begun, plan, "w0", np.float32([[3.0, 2.0]]))

    assert both is not None
    of_weight, of_size = both
    # 0.6 is inside ±1 and rounds to 1; 5 is clipped to 1
    assert of_weight.tolist() == [[3.0, 0.0]]
    # ((1 - 0.6) × 3 + 1 × 2) / sqrt(2 columns × 1)
    assert of_size[0, 0] == pytest.approx(3.2 / np.sqrt(2), rel=1e-6)


def test_rounding_begins_when_it_should(whole: Network, rows: Rows) -> None:
    plan = TrainPlan(epochs=2, batch=50, rounding=RoundingPlan(bits=4, group=8, begin=0.5))

    early, late = (run(plan, rows, whole, stop=stop) for stop in (12, 13))

    assert rounding.SIZE not in early.slots["w0"]
    assert rounding.SIZE in late.slots["w0"]


def test_the_first_step_of_sizes_is_corrected_as_a_first_step(whole: Network, rows: Rows) -> None:
    plan = TrainPlan(
        epochs=50,
        batch=600,
        rate=1e-4,
        schedule="constant",
        rounding=RoundingPlan(bits=4, group=8, begin=0.9),
    )
    started = replace(loop.start(whole, plan), step=45)

    begun, moved = rounding.begin(started, plan, 50), loop.advance(started, plan, rows, RUN)

    first, then = (found.slots["w0"][rounding.SIZE] for found in (begun, moved))
    # Kingma & Ba 2015, section 2.1: a first step is about the rate, whatever the slope
    np.testing.assert_allclose(abs(then - first), 1e-4, rtol=0.01)


def test_rounding_without_a_dense_weight_is_refused() -> None:
    network = networks.mlp((8, 16, 8), ("csr", "csr"))

    with pytest.raises(ValueError, match="nothing to round"):
        loop.start(network, TrainPlan(rounding=TWO_BITS))


@pytest.mark.parametrize("stop", [2, 4, 5, 9, 23])
@pytest.mark.parametrize("optimiser", [Adam(), Sgd()])
@pytest.mark.parametrize("sparse", [None, SparsePlan("rigl", 0.5, every=3, min_rows=24)])
def test_a_run_taken_up_from_stored_bytes_ends_in_the_same_bits(
    whole: Network, rows: Rows, *, stop: int, optimiser: Adam | Sgd, sparse: SparsePlan | None
) -> None:
    rounded = RoundingPlan(bits=3, group=8, begin=0.2)  # from step 4 of 24
    plan = TrainPlan(
        epochs=2, batch=50, rate=1e-3, optimiser=optimiser, sparse=sparse, rounding=rounded
    )
    straight = run(plan, rows, whole)

    halfway = state.unpack(state.pack(run(plan, rows, whole, stop=stop)))
    resumed = learning.go_on(loop.checked(halfway, plan, len(rows.x)), plan, rows)

    assert state.pack(resumed) == state.pack(straight)


def test_eight_bits_of_a_row_are_trained_too(whole: Network, rows: Rows) -> None:
    plan = TrainPlan(epochs=1, batch=50, rate=1e-4, rounding=RoundingPlan(bits=8, group=None))

    coded = loop.result(run(plan, rows, whole), plan)

    assert accuracy(coded, rows) > accuracy(whole, rows) - 0.02
    assert Layout.INT8_CHANNEL in {weight.layout for weight in coded.weights.values()}


@pytest.mark.parametrize(("bits", "group"), [(1, None), (9, None), (4, 0)])
def test_bits_that_cannot_be_stored_are_refused(bits: int, group: int | None) -> None:
    with pytest.raises(ValueError, match=r"bits|group"):
        RoundingPlan(bits=bits, group=group)


BYTES = RoundingPlan(bits=8, group=None, begin=0.0, activations=True)


def test_a_network_that_learned_with_bytes_is_integers_throughout(
    whole: Network, rows: Rows
) -> None:
    plan = TrainPlan(epochs=3, batch=50, rate=1e-3, rounding=BYTES)
    found = run(plan, rows, whole)

    coded = loop.result(found, plan)

    operators = [step.operator for step in coded.steps]
    assert operators == ["quantize_i8", "gemm_q8", "gemm_q8", "gemm_q8", "softmax"]
    assert accuracy(coded, rows) > accuracy(whole, rows) - 0.01
    trained = rounding.rounded(found, plan)
    x = {"x": dense(rows.x)}
    mine, learned = (
        execute.load(one, ReferenceBackend()).run(x)["y"].values for one in (coded, trained)
    )
    np.testing.assert_allclose(mine, learned, atol=0.05)


def test_what_bytes_took_with_few_of_them_comes_back_with_training(
    whole: Network, rows: Rows
) -> None:
    plan = TrainPlan(epochs=6, batch=50, rate=2e-3, rounding=BYTES)
    narrow = run(plan, rows, whole, stop=1)
    ends = {name: value / 6 for name, value in narrow.kept.items()}  # most inputs saturate

    before = accuracy(loop.result(replace(narrow, kept=ends), plan), rows)
    after = accuracy(loop.result(run(plan, rows, whole), plan), rows)

    assert before < after - 0.05


def test_a_run_with_ranges_goes_on_bit_by_bit(whole: Network, rows: Rows) -> None:
    plan = TrainPlan(epochs=2, batch=50, rounding=BYTES)
    stopped = state.unpack(state.pack(run(plan, rows, whole, stop=7)))

    resumed, straight = stopped, run(plan, rows, whole)
    while not loop.finished(resumed, plan, len(rows.x)):
        resumed = loop.advance(resumed, plan, rows, RUN)

    assert state.pack(resumed) == state.pack(straight)


def test_activations_go_with_weights_of_eight_bits() -> None:
    with pytest.raises(ValueError, match="weights of 8 bits with a scale per row, got bits 4"):
        RoundingPlan(bits=4, group=None, activations=True)
