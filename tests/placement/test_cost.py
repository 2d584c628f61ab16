"""The roofline by hand, its interval, and the figures it rests on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.operators.spec import Cost
from shared.placement import cost, hardware
from shared.placement.cost import StepWork, Work
from shared.placement.hardware import DeviceFigures, Figure, Source


def exact(value: float) -> Figure:
    return Figure(value, value, value)


FIGURES = DeviceFigures(
    device="made up",
    source=Source.MEASURED,
    copy_bandwidth=exact(10e9),
    gemm_rate=exact(100e9),
    spmm_rate=exact(1e9),
    launch=exact(1e-5),
    upload_bandwidth=exact(2e9),
    download_bandwidth=exact(1e9),
)


def test_a_step_takes_the_longer_of_its_bytes_and_its_flops() -> None:
    bound_by_bytes = Work((StepWork(Cost(flops=1e6, bytes=1e7)),))
    bound_by_flops = Work((StepWork(Cost(flops=1e9, bytes=1e7)),))

    # 1e7 B / 10e9 B/s = 1 ms against 1e6 / 100e9 = 10 us; 1e9 / 100e9 = 10 ms; launch 10 us
    assert cost.typical(bound_by_bytes, FIGURES) == pytest.approx(1e-3 + 1e-5)
    assert cost.typical(bound_by_flops, FIGURES) == pytest.approx(10e-3 + 1e-5)


def test_sparse_products_run_at_their_own_rate() -> None:
    work = Work((StepWork(Cost(flops=1e6, bytes=0.0), sparse=True),))

    assert cost.typical(work, FIGURES) == pytest.approx(1e-3 + 1e-5)  # 1e6 / 1e9


def test_steps_repeat_and_tensors_cross_once() -> None:
    step = StepWork(Cost(flops=0.0, bytes=1e6))  # 100 us and a launch of 10 us
    work = Work((step, step), upload=2e6, download=1e6, repeat=3)

    # 3 * 2 * 110 us + 2e6 / 2e9 + 1e6 / 1e9
    assert cost.typical(work, FIGURES) == pytest.approx(6 * 110e-6 + 1e-3 + 1e-3)


def test_the_interval_takes_every_figure_at_its_best_and_its_worst() -> None:
    figures = DeviceFigures(
        device="spread",
        source=Source.MEASURED,
        copy_bandwidth=Figure(10e9, 5e9, 20e9),
        gemm_rate=exact(1e15),
        spmm_rate=exact(1e15),
        launch=Figure(2e-5, 1e-5, 4e-5),
        upload_bandwidth=exact(1e15),
        download_bandwidth=exact(1e15),
    )

    found = cost.estimate(Work((StepWork(Cost(flops=0.0, bytes=1e6)),)), figures)

    assert found.low == pytest.approx(50e-6 + 1e-5)
    assert found.typical == pytest.approx(100e-6 + 2e-5)
    assert found.high == pytest.approx(200e-6 + 4e-5)


@given(
    flops=st.floats(0.0, 1e13),
    moved=st.floats(0.0, 1e11),
    worker_class=st.sampled_from(("cpu", "gpu-pocl", "gpu-gfx803", "gpu-else")),
)
def test_the_typical_time_lies_in_its_interval(
    flops: float, moved: float, worker_class: str
) -> None:
    work = Work((StepWork(Cost(flops, moved)),), upload=moved, download=moved)

    found = cost.estimate(work, hardware.prior(worker_class))

    assert 0.0 < found.low <= found.typical <= found.high


def test_the_slope_of_a_batch_is_what_further_rows_cost() -> None:
    assert cost.seconds_per_row(1e-3, 8e-3, 8) == pytest.approx(1e-3)  # 7 ms for 7 more rows
    assert cost.seconds_per_row(8e-3, 1e-3, 8) == 0.0
    with pytest.raises(ValueError, match="more than one row"):
        cost.seconds_per_row(1e-3, 8e-3, 1)


@pytest.mark.parametrize("figure", [(0.0, 0.0, 1.0), (1.0, 2.0, 3.0), (3.0, 1.0, 2.0)])
def test_figures_that_are_no_interval_of_positive_numbers_are_refused(
    figure: tuple[float, float, float],
) -> None:
    with pytest.raises(ValueError, match="need 0 <"):
        Figure(*figure)


def test_a_prior_never_claims_to_be_measured() -> None:
    for worker_class in ("cpu", "gpu-pocl", "gpu-gfx803", "gpu-nvidia"):
        assert hardware.prior(worker_class).source is Source.PRIOR
