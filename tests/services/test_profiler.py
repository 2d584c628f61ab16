"""The profiler: what its jobs measure, what it makes of the times, and where that is kept."""

import time

import anyio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.profiler import devices, experiments, figures, fit, networks, newcomers, steal
from services.profiler.experiments import Experiment
from services.profiler.handlers import ProfileHandler
from services.profiler.steal import CpuTimes
from services.profiler.workbench import Workbench
from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus
from shared.chassis import jobs
from shared.contracts.errors import InvalidMessage, NoWorker, UnknownModel
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import (
    BlobRef,
    JobFinished,
    JobSubmitted,
    OperatorBody,
    ProfileBody,
    Status,
    StepTime,
    Timing,
)
from shared.contracts.v1.models import Latency, ModelManifest, PortSignature, Variant
from shared.contracts.v1.workers import DeviceProfile
from shared.operators import catalog, validate
from shared.tensors.layouts import Layout
from tests.services import compute_house
from tests.services.profiler_house import CARD, house
from tests.services.worker_house import appears, silent

# experiments


def test_every_experiment_is_a_valid_call_of_its_operator(rng: np.random.Generator) -> None:
    for each in experiments.plan(rng):
        spec = catalog.spec(each.body.operator)
        types = {name: tensor.type for name, tensor in each.tensors.items()}

        attributes = validate.call(spec, types, each.body.attributes)

        if each.flops:
            assert spec.cost(types, attributes).flops == pytest.approx(each.flops, rel=0.01)


def test_the_large_copy_counts_what_it_reads_and_what_it_writes(rng: np.random.Generator) -> None:
    large = experiments.copy(rng)

    assert large.upload == large.download == 16 * 2**20
    assert large.moved == 2 * large.upload


def test_the_sparse_experiment_has_a_tenth_of_its_values(rng: np.random.Generator) -> None:
    weight = experiments.spmm(rng).tensors["weight"]
    columns = weight.parts["indices"].reshape(experiments.SPMM_SIZE, -1)

    assert weight.layout is Layout.CSR
    assert columns.shape[1] == 205  # round(2048 * 0.1)
    assert (np.diff(columns, axis=1) > 0).all()  # sorted, none twice


# fit


def test_a_measure_is_the_median_with_quartiles_of_what_follows_the_warm_up() -> None:
    samples = [9.0, 1.0, 2.0, 3.0, 4.0, 5.0]  # one tenth of six, but at least one, is warm-up

    found = fit.duration(samples)

    assert (found.low, found.median, found.high, found.samples) == (2.0, 3.0, 4.0, 5)


def test_few_samples_are_all_counted() -> None:
    assert fit.duration([4.0, 1.0]).samples == 2


def test_a_rate_is_the_amount_over_each_time() -> None:
    found = fit.rate([1.0, 2.0, 4.0], 8.0)

    assert (found.low, found.median, found.high) == (3.0, 4.0, 6.0)  # of 2, 4 and 8 per second


@pytest.mark.parametrize("samples", [[], [-1.0], [float("nan")], [float("inf")]])
def test_times_that_are_none_are_refused(samples: list[float]) -> None:
    with pytest.raises(ValueError, match="need times"):
        fit.duration(samples)


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=50))
def test_a_measure_is_ordered_and_rests_on_what_was_given(samples: list[float]) -> None:
    found = fit.duration(samples)

    assert min(samples) <= found.low <= found.median <= found.high <= max(samples)
    assert 1 <= found.samples <= len(samples)


def _record(*samples: float, **fields: object) -> JobFinished:
    whole = {"worker": "cpu-1", "worker_class": "cpu", "device": "a processor", "driver": "one"}
    timing = Timing(samples=samples, upload_samples=samples, download_samples=samples)
    return JobFinished(
        job="j",
        tenant="t",
        kind="operator",
        status=Status.SUCCEEDED,
        timing=timing,
        **whole | fields,
    )


def test_a_profile_names_the_device_and_keeps_the_steal() -> None:
    def experiment(name: str, **amounts: float) -> Experiment:
        return Experiment(name, OperatorBody(operator="copy"), {}, **amounts)

    results = {
        "launch": (experiment("launch"), _record(1e-5)),
        "copy": (experiment("copy", moved=4e9, upload=2e9, download=1e9), _record(0.5)),
        "gemm": (experiment("gemm", flops=1e9), _record(0.1)),
        "spmm": (experiment("spmm", flops=1e8), _record(0.1)),
    }

    found = fit.profile(results, steal=0.02, now=7.0)

    assert (found.worker_class, found.device, found.driver) == ("cpu", "a processor", "one")
    assert (found.steal, found.measured_at) == (0.02, 7.0)
    medians = (found.copy_bandwidth, found.upload_bandwidth, found.download_bandwidth)
    assert [each.median for each in medians] == [8e9, 4e9, 2e9]
    assert found.gemm_rate.median == pytest.approx(1e10)
    assert found.spmm_rate.median == pytest.approx(1e9)


def test_a_latency_states_batch_median_and_tail() -> None:
    found = fit.latency(_record(*[1.0] * 99, 2.0), batch=64)

    assert (found.batch, found.p50, found.samples) == (64, 1.0, 90)
    assert 1.0 < found.p99 <= 2.0


# steal


def test_steal_is_the_stolen_part_of_the_time_between_two_readings() -> None:
    before = steal.parse("cpu  100 0 50 800 10 0 0 40 0 0\ncpu0 1 2\n")
    after = steal.parse("cpu  150 0 70 820 10 0 0 50 0 0\n")

    assert before == CpuTimes(total=1000, stolen=40)
    assert steal.share(before, after) == pytest.approx(0.1)  # 10 of 100 ticks
    assert steal.share(before, before) == 0.0


@pytest.mark.parametrize("text", ["", "cpu 1 2", "intr 1 2 3 4 5 6 7 8 9"])
def test_what_is_not_the_kernels_format_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="/proc/stat"):
        steal.parse(text)


# networks


def _latency(worker_class: str, p50: float) -> Latency:
    return Latency(worker_class=worker_class, device="d", batch=1, p50=p50, p99=p50, samples=9)


def test_new_figures_take_the_place_of_the_old_ones_of_their_class() -> None:
    step = StepTime(step="s", operator="relu", seconds=1.0, flops=1.0, bytes=1.0)
    variant = Variant(
        name="dense",
        artifact=BlobRef(sha256="a" * 64, size=1),
        weight_bytes=1,
        latencies=(_latency("cpu", 1.0), _latency("gpu-pocl", 2.0)),
    )
    found = [
        figures.Figures("dense", "a" * 64, "cpu", (_latency("cpu", 3.0),), (step,)),
        figures.Figures("int8", "b" * 64, "cpu", (_latency("cpu", 4.0),), (step,)),
    ]

    merged = figures.merged(variant, found)

    assert {(one.worker_class, one.p50) for one in merged.latencies} == {
        ("gpu-pocl", 2.0),
        ("cpu", 3.0),
    }
    assert merged.steps == {"cpu": (step,)}


def test_only_what_is_missing_joins_figures_that_are_to_stay() -> None:
    variant = Variant(
        name="dense",
        artifact=BlobRef(sha256="a" * 64, size=1),
        weight_bytes=1,
        latencies=(_latency("cpu", 1.0),),
    )
    many = _latency("cpu", 9.0).model_copy(update={"batch": 64})
    found = [figures.Figures("dense", "a" * 64, "cpu", (_latency("cpu", 3.0), many), ())]

    kept = figures.merged(variant, found, missing_only=True)
    renewed = figures.merged(variant, found)

    assert [(one.batch, one.p50) for one in kept.latencies] == [(1, 1.0), (64, 9.0)]
    assert [(one.batch, one.p50) for one in renewed.latencies] == [(1, 3.0), (64, 9.0)]


def test_figures_of_a_variant_that_was_replaced_meanwhile_are_dropped() -> None:
    variant = Variant(name="int8", artifact=BlobRef(sha256="b" * 64, size=1), weight_bytes=1)
    found = [figures.Figures("int8", "a" * 64, "cpu", (_latency("cpu", 3.0),), ())]

    assert figures.merged(variant, found) == variant


def test_figures_of_a_former_device_go() -> None:
    variant = Variant(
        name="dense",
        artifact=BlobRef(sha256="a" * 64, size=1),
        weight_bytes=1,
        latencies=(_latency("cpu", 1.0).model_copy(update={"device": "former", "batch": 16}),),
    )
    found = [figures.Figures("dense", "a" * 64, "cpu", (_latency("cpu", 3.0),), ())]

    assert [one.batch for one in figures.merged(variant, found).latencies] == [1]


def test_inputs_fit_the_signature(rng: np.random.Generator) -> None:
    ports = [
        PortSignature(name="x", dtype="f32", shape=(-1, 3)),
        PortSignature(name="ids", dtype="i64", shape=(-1,)),
        PortSignature(name="train", dtype="f32", shape=(-1, 40, 25), spikes=True),
    ]

    tensors = networks.inputs(ports, 5, rng)

    assert set(np.unique(tensors["train"].values)) == {0.0, 1.0}
    assert tensors["train"].values.mean() == pytest.approx(networks.SPIKING, rel=0.1)
    assert tensors["x"].shape == (5, 3)
    assert tensors["x"].values.dtype == np.float32
    assert tensors["ids"].values.dtype == np.int64


# the whole way through scheduler and worker


async def profile(bus: Bus, **body: object) -> JobFinished:
    job = JobSubmitted(job=f"p{time.monotonic_ns()}", body=ProfileBody(**body))
    record, _ = await jobs.submit_and_wait(bus, job, timeout=60)
    return record


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small experiments on a machine without neighbours: the way is tested, not the device."""
    monkeypatch.setattr(experiments, "COPY_ELEMENTS", 4096)
    monkeypatch.setattr(experiments, "GEMM_SIZE", 64)
    monkeypatch.setattr(experiments, "SPMM_SIZE", 64)
    monkeypatch.setattr(steal, "share", lambda _before, _after: 0.0)


@pytest.mark.usefixtures("quick")
async def test_a_class_is_profiled_through_its_own_worker(memory: MemoryBroker) -> None:
    async with house(memory) as bus:
        record = await profile(bus, worker_class="cpu")
        entry = await bus.get(Bucket.ROUTES, "device.cpu")

    assert entry is not None
    stored = DeviceProfile.decode(entry.value or b"")
    assert stored == DeviceProfile.model_validate(record.report["profile"])
    assert (stored.worker, stored.device, stored.driver) == ("cpu-1", "a processor", "one")
    assert stored.gemm_rate.samples == 9  # ten, one of them warm-up


async def test_a_measurement_under_steal_is_repeated_and_the_best_try_counts(
    memory: MemoryBroker, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = iter((0.5, 0.2, 0.3))
    monkeypatch.setattr(steal, "share", lambda _before, _after: next(lost))

    async with house(memory) as bus:
        record = await profile(bus, worker_class="cpu")

    assert next(lost, None) is None  # three tries, no more
    assert DeviceProfile.model_validate(record.report["profile"]).steal == 0.2


async def test_a_model_is_timed_and_its_manifest_keeps_the_figures(memory: MemoryBroker) -> None:
    async with house(memory) as bus:
        await compute_house.store(bus, "scaling", compute_house.scaling())
        record = await profile(bus, model="scaling")
        entry = await bus.get(Bucket.MODELS, "scaling")

    assert entry is not None
    [variant] = ModelManifest.decode(entry.value or b"").variants
    assert [(one.worker_class, one.batch) for one in variant.latencies] == [("cpu", 1), ("cpu", 64)]
    assert [step.operator for step in variant.steps["cpu"]] == ["gemm_f32"]
    rows = record.report["rows"]
    assert isinstance(rows, list)
    assert [(row["variant"], row["worker_class"], row["batch"]) for row in rows] == [
        ("dense", "cpu", 1),
        ("dense", "cpu", 64),
    ]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, InvalidMessage),
        ({"worker_class": "gpu-none"}, NoWorker),
        ({"model": "nobody"}, UnknownModel),
    ],
    ids=["nothing named", "no such class", "no such model"],
)
async def test_what_cannot_be_measured_fails_with_its_reason(
    memory: MemoryBroker, body: dict[str, str], error: type[Exception]
) -> None:
    async with house(memory) as bus:
        job = JobSubmitted(job="p1", body=ProfileBody(**body))
        handler = ProfileHandler(Workbench(bus))

        with pytest.raises(error):
            await handler.handle(job, {}, silent)


@pytest.mark.usefixtures("quick")
async def test_a_newcomer_is_measured_without_being_asked_and_only_once(
    memory: MemoryBroker,
) -> None:
    async with house(memory) as bus, anyio.create_task_group() as group:
        group.start_soon(newcomers.watch, Workbench(bus))
        group.start_soon(newcomers.watch, Workbench(memory.connect("second")))
        await appears(bus, Bucket.ROUTES, "device.cpu")
        measured = await devices.stored(Workbench(bus), "cpu")
        group.cancel_scope.cancel()

    assert measured is not None
    assert measured.device == CARD.device


def test_profilers_agree_on_the_id_of_a_newcomers_profile() -> None:
    other = CARD.model_copy(update={"worker": "cpu-2", "pid": 9})
    renewed = CARD.model_copy(update={"driver": "two"})

    assert newcomers.job_id(CARD, 1000.0) == newcomers.job_id(other, 1100.0)
    assert newcomers.job_id(CARD, 1000.0) != newcomers.job_id(renewed, 1000.0)
    assert newcomers.job_id(CARD, 1000.0) != newcomers.job_id(CARD, 1000.0 + newcomers.AGAIN)
