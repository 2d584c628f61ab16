"""Training learns, is the same bits however it is cut, and keeps sparse weights sparse."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from shared.network.graph import Network, Step
from shared.network.training import backward, loop, losses, regrow, state
from shared.network.training.loop import Rows
from shared.network.training.plan import Adam, Method, Sgd, SparsePlan, TrainPlan
from shared.network.training.state import TrainState
from shared.operators import sparse_cases
from shared.sparse import triplets
from shared.tensors.layouts import SPARSE, Layout, Tensor, dense
from tests.network import learning, networks
from tests.network.learning import RUN, accuracy

DYNAMIC: list[Method] = ["static", "set", "rigl", "dsr"]


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Three clouds of points in eight dimensions."""
    return learning.clouds(3, 240, apart=2.0, wide=1.0)


def small(*, hidden: int = 40) -> Network:
    return networks.mlp((8, hidden, hidden, 3), ("dense", "dense", "dense"))


def trained(
    plan: TrainPlan, rows: Rows, network: Network | None = None, *, stop: int | None = None
) -> TrainState:
    begun = loop.start(network or small(), plan, fresh=True)
    return learning.go_on(begun, plan, rows, stop=stop)


def plan(method: Method | None = None, **changes: object) -> TrainPlan:
    sparse = None
    if method is not None:
        sparse = SparsePlan(method, 0.8, every=3, min_rows=8)
    return replace(TrainPlan(epochs=8, batch=32, rate=3e-3, sparse=sparse), **changes)


@pytest.mark.parametrize("optimiser", [Adam(), Sgd(), Adam(decay=0.01), Sgd(0.0, decay=1e-4)])
def test_training_separates_clouds(optimiser: Adam | Sgd, rows: Rows) -> None:
    rate = 3e-3 if isinstance(optimiser, Adam) else 3e-2
    found = trained(plan(optimiser=optimiser, rate=rate), rows)

    assert accuracy(found.network, rows) > 0.9


@pytest.mark.parametrize("method", [None, *DYNAMIC, "gradual"])
def test_a_run_taken_up_from_stored_bytes_ends_in_the_same_bits(
    method: Method | None, rows: Rows
) -> None:
    whole = trained(plan(method), rows)

    halfway = state.unpack(state.pack(trained(plan(method), rows, stop=29)))
    resumed = learning.go_on(halfway, plan(method), rows)

    assert state.pack(resumed) == state.pack(whole)


def test_another_seed_gives_other_weights(rows: Rows) -> None:
    first, second = (trained(plan(seed=seed), rows, stop=2) for seed in (0, 1))

    assert state.pack(first) != state.pack(second)


@pytest.mark.parametrize("method", DYNAMIC)
def test_the_number_of_stored_weights_never_changes(method: Method, rows: Rows) -> None:
    found = loop.start(small(), plan(method), fresh=True)
    budget = stored(found)

    while not loop.finished(found, plan(method), len(rows.x)):
        found = loop.advance(found, plan(method), rows, RUN)

        assert stored(found) == budget
    assert accuracy(found.network, rows) > 0.85


@pytest.mark.parametrize("method", ["set", "rigl", "dsr"])
def test_weights_move_to_other_places(method: Method, rows: Rows) -> None:
    begun = loop.start(small(), plan(method), fresh=True)

    found = trained(plan(method), rows)

    assert places(begun) != places(found)


def test_a_static_mask_stays_where_it_is(rows: Rows) -> None:
    begun = loop.start(small(), plan("static"), fresh=True)

    assert places(trained(plan("static"), rows)) == places(begun)


@pytest.mark.parametrize("method", [*DYNAMIC, "gradual"])
def test_weights_and_optimiser_state_are_arrays_of_the_stored_elements(
    method: Method, rows: Rows
) -> None:
    found = trained(plan(method), rows, stop=20)

    for name, weight in sparse_weights(found).items():
        for slot in found.slots[name].values():
            assert slot.shape == weight.parts["values"].shape


def test_what_has_just_grown_is_zero_and_has_no_past(rows: Rows) -> None:
    settings = plan("rigl")
    before = trained(settings, rows, stop=3)

    after = loop.advance(before, settings, rows, RUN)

    for name, weight in sparse_weights(after).items():
        now, then = positions(after)[name], positions(before)[name]
        new = ~np.isin(now, then)
        assert new.any()
        assert not weight.parts["values"][new].any()
        assert not after.slots[name]["mean"][new].any()


def test_gradual_pruning_ends_at_the_sparsity_asked_for(rows: Rows) -> None:
    found = trained(plan("gradual"), rows)

    sizes = [weight.size for weight in sparse_weights(found).values()]
    assert stored(found) == sum(sizes) - round(sum(sizes) * 0.8)


@pytest.mark.parametrize(("epochs", "every", "until"), [(1, 100, 0.75), (2, 5, 1.0), (1, 8, 0.1)])
def test_gradual_pruning_reaches_its_sparsity_however_short_the_run(
    rows: Rows, epochs: int, every: int, until: float
) -> None:
    sparse = SparsePlan("gradual", 0.8, every=every, until=until, min_rows=8)

    found = trained(plan(epochs=epochs, sparse=sparse), rows)

    sizes = [weight.size for weight in sparse_weights(found).values()]
    assert stored(found) == sum(sizes) - round(sum(sizes) * 0.8)


def test_a_single_step_prunes_all_at_once(rows: Rows) -> None:
    found = trained(plan("gradual", epochs=1, batch=1000), rows)

    sizes = [weight.size for weight in sparse_weights(found).values()]
    assert stored(found) == sum(sizes) - round(sum(sizes) * 0.8)


@pytest.mark.parametrize("method", ["set", "rigl", "dsr"])
def test_a_run_in_which_no_weight_would_move_is_refused(method: Method, rows: Rows) -> None:
    short = plan(epochs=1, sparse=SparsePlan(method, 0.8, min_rows=8))

    with pytest.raises(ValueError, match=f"never move: {method} moves them every 100 steps"):
        trained(short, rows)


def test_small_layers_stay_dense(rows: Rows) -> None:
    found = loop.start(small(), plan("rigl"))

    assert found.network.weights["w2"].layout is Layout.DENSE  # three outputs


def test_the_loss_is_the_logarithm_of_the_share_at_the_label() -> None:
    scores = np.log(np.array([[0.5, 0.25, 0.25]], dtype=np.float32))

    loss, slope = losses.cross_entropy(scores, np.array([1]))

    assert loss == pytest.approx(np.log(4), rel=1e-6)
    assert slope[0].tolist() == pytest.approx([0.5, -0.75, 0.25], abs=1e-6)


def test_squared_differences_are_averaged() -> None:
    loss, slope = losses.mse(np.float32([[1, 3]]), np.float32([[0, 1]]))

    assert loss == pytest.approx((1 + 4) / 2)
    assert slope.tolist() == [[1.0, 2.0]]  # 2 / 2 × difference


def test_a_value_with_two_readers_gets_both_slopes() -> None:
    steps = (
        Step("square", "mul", {"a": "x", "b": "x"}, {"y": "s"}),
        Step("add", "add", {"a": "s", "b": "x"}, {"y": "y"}),
    )
    network = Network({"x": networks.batched(2)}, ("y",), steps, {})
    x = dense(np.float32([[3.0, -1.0]]))

    taped = backward.forward(network, {"x": x}, RUN)
    found = backward.gradients(
        taped, {"y": dense(np.ones((1, 2), np.float32))}, frozenset({"x"}), RUN
    )

    assert found["x"].values.tolist() == [[7.0, -1.0]]  # 2 x + 1


def test_a_loss_that_is_not_finite_names_step_and_rate(rows: Rows) -> None:
    wild = Rows(np.full_like(rows.x, 1e38), rows.y)

    with pytest.raises(ValueError, match=r"the loss is .* at step 0; a smaller rate than 0\.003"):
        trained(plan(), wild)


def test_weights_that_are_not_finite_after_the_last_step_are_named(rows: Rows) -> None:
    settings = TrainPlan(epochs=1, batch=len(rows.x), rate=1e38, optimiser=Sgd())
    loud = Rows(rows.x * np.float32(1e3), rows.y)

    with pytest.raises(loop.Diverged, match=r"'w\d' holds -?(inf|nan) after step 0; a smaller"):
        trained(settings, loud)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_named(value: float, rows: Rows) -> None:
    x = rows.x.copy()
    x[3, 2] = value

    with pytest.raises(ValueError, match=rf"x must be finite, x\[3, 2\] is {value}"):
        Rows(x, rows.y)


def test_rows_without_as_many_labels_are_refused(rows: Rows) -> None:
    with pytest.raises(ValueError, match=r"\(240, 8\) and y \(5,\) have not the same rows"):
        Rows(rows.x, rows.y[:5])


def test_labels_between_classes_are_refused_and_whole_floats_are_not(rows: Rows) -> None:
    floats = Rows(rows.x, rows.y.astype(np.float32))

    assert state.pack(trained(plan(), floats, stop=2)) == state.pack(trained(plan(), rows, stop=2))
    with pytest.raises(ValueError, match=r"whole numbers of classes, got 0\.5"):
        trained(plan(), Rows(rows.x, np.full(len(rows.x), 0.5)))


@pytest.mark.parametrize("layout", sorted(SPARSE))
def test_fresh_weights_of_a_sparse_layer_keep_its_pattern(layout: Layout) -> None:
    held = sparse_cases.weight(np.random.default_rng(3), layout, 256, 64, 0.3)
    ports = {"x": "x", "weight": "w"}
    step = Step("layer", f"spmm_{layout}", ports, {"y": "y"}, {"batch_first": True})
    network = Network({"x": networks.batched(64)}, ("y",), (step,), {"w": held})

    drawn = loop.start(network, plan(), fresh=True).network.weights["w"]

    there, now = triplets.of(held), triplets.of(drawn)
    assert (there.rows.tolist(), there.cols.tolist()) == (now.rows.tolist(), now.cols.tolist())
    assert not np.array_equal(there.values, now.values)
    # He: a normal distribution of variance 2 / 64
    assert now.values.std() == pytest.approx(np.sqrt(2 / 64), rel=0.1)
    padding = np.delete(drawn.parts["values"].ravel(), now.at)
    assert not padding.any()


def test_a_state_of_the_plan_is_taken_up(rows: Rows) -> None:
    for method in (None, *DYNAMIC, "gradual"):
        found = trained(plan(method), rows, stop=7)

        assert loop.checked(found, plan(method), len(rows.x)) is found


def test_a_state_that_the_plan_cannot_have_come_to_is_refused(rows: Rows) -> None:
    found = trained(plan(), rows, stop=2)
    short = {"mean": np.zeros((1, 1), np.float32), "square": np.zeros((1, 1), np.float32)}

    for wrong, told in (
        (replace(found, step=65), "step 65 lies beyond the last, 64"),
        (replace(found, slots={}), r"slots of \[\]"),
        (replace(found, slots={**found.slots, "nothing": short}), "'nothing'"),
        (replace(found, slots={**found.slots, "w0": short}), r"slots of 'w0' .*\(1, 1\)"),
    ):
        with pytest.raises(ValueError, match=told):
            loop.checked(wrong, plan(), len(rows.x))
    with pytest.raises(ValueError, match="velocity"):
        loop.checked(found, plan(optimiser=Sgd()), len(rows.x))


def test_a_label_beyond_the_classes_is_named(rows: Rows) -> None:
    wrong = Rows(rows.x, np.full_like(rows.y, 3))

    with pytest.raises(ValueError, match="label 3 is not one of the 3 classes"):
        trained(plan(), wrong)


def test_no_rows_are_refused(rows: Rows) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        trained(plan(), Rows(rows.x[:0], rows.y[:0]))


def test_a_network_without_own_weights_is_refused() -> None:
    network = networks.mlp((8, 4), ("int8",))

    with pytest.raises(ValueError, match="no product has float32 weights"):
        loop.start(network, plan())


def test_a_step_without_gradient_is_named(rows: Rows) -> None:
    network = networks.mlp((8, 16, 16, 3), ("dense", "int8", "dense"))

    with pytest.raises(ValueError, match="'layer1' cannot be trained through: gemm_i8"):
        trained(plan(), rows, network)


@pytest.mark.parametrize("junk", [b"", b"\0" * 64, b"not a container at all, but long enough"])
def test_bytes_that_are_no_state_are_refused(junk: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of the container's own refusals
        state.unpack(junk)


@pytest.mark.parametrize(
    ("field", "value"), [("sparsity", 1.0), ("drop", -0.1), ("until", 1.5), ("every", 0)]
)
def test_a_plan_that_makes_no_sense_is_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        replace(SparsePlan("rigl", 0.9), **{field: value})


def sparse_weights(found: TrainState) -> Mapping[str, Tensor]:
    weights = found.network.weights
    return {name: weights[name] for name in found.slots if weights[name].layout is Layout.CSR}


def positions(found: TrainState) -> dict[str, regrow.I64]:
    return {name: regrow.positions(weight) for name, weight in sparse_weights(found).items()}


def places(found: TrainState) -> dict[str, list[int]]:
    return {name: at.tolist() for name, at in positions(found).items()}


def stored(found: TrainState) -> int:
    return sum(at.size for at in positions(found).values())


def test_a_label_beyond_the_classes_is_told_before_its_batch_comes() -> None:
    network = networks.mlp((3, 4), ("dense",))
    rows = Rows(np.zeros((5, 3), np.float32), np.array([0, 1, 2, 3, 4]))

    with pytest.raises(ValueError, match="label 4 is not one of the 4 classes"):
        loop.require_rows(network, TrainPlan(), rows)
    loop.require_rows(network, TrainPlan(), Rows(rows.x[:4], rows.y[:4]))
