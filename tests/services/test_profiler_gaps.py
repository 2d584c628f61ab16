"""What is measured without being asked for: what counts as missing, when, and how often."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio
import pytest

from services.profiler import filler, fit, gaps, networks, quiet, steal
from services.profiler.filler import Filler
from services.profiler.quiet import Quiet
from services.profiler.workbench import Workbench
from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus, Inbound
from shared.chassis.handler import Outcome, Progress
from shared.contracts import frame, subjects
from shared.contracts.errors import InvalidMessage
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import (
    BlobRef,
    InferBody,
    JobEvent,
    JobFinished,
    JobSubmitted,
    ProfileBody,
    Status,
    Timing,
)
from shared.contracts.v1.models import Latency, ModelManifest, PortSignature, Variant
from shared.contracts.v1.workers import Heartbeat
from shared.tensors.layouts import Tensor
from tests.services import compute_house
from tests.services.profiler_house import CARD, house

PORT = PortSignature(name="x", dtype="f32", shape=(-1, 4))


def model(*latencies: Latency, **fields: object) -> ModelManifest:
    artifact = BlobRef(sha256="a" * 64, size=1)
    variant = Variant(name="dense", artifact=artifact, weight_bytes=1, latencies=latencies)
    whole = {"model": "m", "inputs": (PORT,), "outputs": (PORT,), "variants": (variant,)} | fields
    return ModelManifest(**whole)


def timed(batch: int, device: str = CARD.device) -> Latency:
    return Latency(worker_class="cpu", device=device, batch=batch, p50=1.0, p99=1.0, samples=9)


# what is missing


def test_a_variant_that_was_never_timed_on_a_live_class_is_a_gap() -> None:
    pocl = CARD.model_copy(update={"worker": "g1", "worker_class": "gpu-pocl"})

    found = gaps.find([model()], [CARD, pocl, CARD.model_copy(update={"worker": "cpu-2"})])

    assert [(one.model, one.variant, one.worker_class) for one in found] == [
        ("m", "dense", "cpu"),
        ("m", "dense", "gpu-pocl"),
    ]


def test_figures_at_two_batches_close_a_gap_and_at_one_alone_do_not() -> None:
    assert gaps.find([model(timed(1), timed(64))], [CARD]) == []
    assert len(gaps.find([model(timed(1))], [CARD])) == 1
    assert len(gaps.find([model(timed(16), timed(64))], [CARD])) == 1


def test_a_model_without_open_batch_is_timed_at_one() -> None:
    port = PORT.model_copy(update={"shape": (1, 4)})

    assert gaps.find([model(timed(1), inputs=(port,))], [CARD]) == []


def test_figures_of_a_device_that_the_class_no_longer_has_do_not_count() -> None:
    old = [timed(batch, "another processor") for batch in (1, 64)]

    assert len(gaps.find([model(*old)], [CARD])) == 1


@pytest.mark.parametrize(
    "card",
    [{"draining": True}, {"kinds": ("import", "compress")}],
    ids=["draining", "computes nothing"],
)
def test_a_worker_that_takes_no_measurements_makes_no_gap(card: dict[str, object]) -> None:
    assert gaps.find([model()], [CARD.model_copy(update=card)]) == []


def test_a_model_out_of_service_has_no_gap() -> None:
    assert gaps.find([model(loaded=False)], [CARD]) == []


def test_profilers_agree_on_the_job_of_a_gap_and_no_two_gaps_or_tries_share_one() -> None:
    [gap] = gaps.find([model(created_at=1.0)], [CARD])
    [again] = gaps.find([model(created_at=1.0)], [CARD.model_copy(update={"worker": "other"})])
    [imported_anew] = gaps.find([model(created_at=2.0)], [CARD])

    assert frame.encode(gap.job(1)) == frame.encode(again.job(1))
    assert len({gap.job(1).job, gap.job(2).job, imported_anew.job(1).job}) == 3
    assert gap.job(1).priority == 9


# when


class StoppedClock:
    """Time [s] that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


def beat(*running: str) -> Inbound:
    told = Heartbeat(worker="w", worker_class="cpu", slots=1, free=0, running=running)
    return Inbound(subjects.heartbeat("w"), told.encode())


async def test_silence_is_a_while_without_a_job_in_any_hand(clock: StoppedClock) -> None:
    silence = Quiet(clock, clock.sleep)
    clock.now += 1.0
    silence.hear(beat("t.j1"))
    clock.now += 0.5
    silence.hear(beat())
    silence.hear(Inbound(subjects.heartbeat("w"), b"nonsense"))

    await silence.wait(60.0)

    assert clock.now == pytest.approx(101.0 + quiet.CALM)


async def test_silence_that_never_comes_is_not_waited_for_for_ever(clock: StoppedClock) -> None:
    async def sleep_while_others_work(seconds: float) -> None:
        clock.now += seconds
        silence.hear(beat("t.j1"))

    silence = Quiet(clock, sleep_while_others_work)

    await silence.wait(10.0)

    assert clock.now == pytest.approx(110.0)


# how often


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between tries, and nobody to be quiet for."""
    monkeypatch.setattr(filler, "REST", 0.0)
    monkeypatch.setattr(filler, "LOOK", 0.02)
    monkeypatch.setattr(quiet, "CALM", 0.0)


class Answering:
    """A profiler's handler that measures nothing and tells what it was asked for."""

    kinds: tuple[str, ...] = ("profile",)

    def __init__(self, error: Exception | None = None) -> None:
        self._tell, self.asked = anyio.create_memory_object_stream[str](100)
        self._error = error

    async def handle(
        self, job: JobSubmitted, _tensors: Mapping[str, Tensor], _progress: Progress
    ) -> Outcome:
        """Tell the model's name."""
        assert isinstance(job.body, ProfileBody)
        self._tell.send_nowait(job.body.model or "")
        if self._error is not None:
            raise self._error
        return Outcome()

    def close(self) -> None:
        """Nobody listens any more."""
        self._tell.close()
        self.asked.close()


async def figures_of(bus: Bus, name: str) -> list[tuple[str, int]]:
    """Classes and batches of the figures of a model, once both batches were timed."""
    with anyio.fail_after(20):
        async with bus.watch(Bucket.MODELS) as changes:
            async for entry in changes:
                [variant] = ModelManifest.decode(entry.value or b"").variants
                found = [(one.worker_class, one.batch) for one in variant.latencies]
                if entry.key == name and len(found) == 2:
                    return found
    raise AssertionError("the watch ended")


@pytest.mark.usefixtures("eager")
async def test_a_model_that_appears_is_measured_once_however_many_profilers_there_are(
    memory: MemoryBroker,
) -> None:
    async with house(memory) as bus, anyio.create_task_group() as group:
        group.start_soon(Filler(Workbench(bus)).run)
        group.start_soon(Filler(Workbench(memory.connect("second"))).run)
        await compute_house.store(bus, "scaling", compute_house.scaling())
        found = await figures_of(bus, "scaling")
        told = await bus.history(Stream.AUDIT, subjects.ALL_AUDIT)
        group.cancel_scope.cancel()

    accepted = [JobEvent.decode(each.data) for each in told if each.subject.endswith("accepted")]
    assert found == [("cpu", 1), ("cpu", 64)]
    assert [event.kind for event in accepted].count("profile") == 1


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize(
    ("error", "times"),
    [(InvalidMessage("no"), 1), (None, filler.TRIES)],
    ids=["it fails", "it leaves no figures"],
)
async def test_a_measurement_in_vain_is_not_asked_for_for_ever(
    memory: MemoryBroker, error: Exception | None, times: int
) -> None:
    answering = Answering(error)

    async with house(memory, answering) as bus, anyio.create_task_group() as group:
        group.start_soon(Filler(Workbench(bus)).run)
        with anyio.fail_after(20):
            await compute_house.store(bus, "scaling", compute_house.scaling())
            first = [await answering.asked.receive() for _ in range(times)]
            await compute_house.store(bus, "other", compute_house.widening(5))
            second = [await answering.asked.receive() for _ in range(times)]
        group.cancel_scope.cancel()
    answering.close()

    assert (first, second) == (["scaling"] * times, ["other"] * times)


# how much


@pytest.mark.parametrize(
    ("seconds", "calls", "rows"),
    [
        (1e-4, 400, 64),  # 5,000 calls would fit in 0.5 s
        (5e-3, 100, 64),
        (0.02, 25, 16),  # 64 rows might take 1.28 s
        (3.0, 5, 2),
    ],
)
def test_slow_networks_are_called_less_often_and_with_fewer_rows(
    seconds: float, calls: int, rows: int
) -> None:
    assert (networks.repeats(seconds), networks.many_rows(seconds)) == (calls, rows)


# disturbed


@dataclass(frozen=True)
class Scripted(Workbench):
    """A workbench whose jobs take the given times [s]."""

    script: list[tuple[float, ...]] = field(default_factory=list)

    async def run(self, *_what: object) -> JobFinished:  # type: ignore[override]  # whatever is asked
        """The next answer."""
        return JobFinished(
            job="j",
            tenant="t",
            kind="infer",
            status=Status.SUCCEEDED,
            worker_class="cpu",
            timing=Timing(samples=self.script.pop(0)),
        )


def test_the_spread_of_times_is_their_middle_half_over_their_median() -> None:
    assert fit.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2.0 / 3.0)


@pytest.mark.parametrize(
    ("script", "median", "left"),
    [
        ([(0.1, 0.1, 0.11), (9.0,)], 0.1, 1),
        ([(0.1, 0.3, 0.5), (0.2, 0.2, 0.21), (9.0,)], 0.2, 1),
        ([(0.1, 0.2, 0.3), (0.3, 0.4, 0.5), (0.1, 0.5, 0.9), (9.0,)], 0.4, 1),
        ([(1.0, 3.0, 5.0), (9.0,)], 3.0, 1),  # 9 s of calls
    ],
    ids=["steady", "steady again", "never steady", "long"],
)
async def test_calls_that_scatter_are_timed_again_and_the_steadiest_count(
    monkeypatch: pytest.MonkeyPatch,
    memory: MemoryBroker,
    script: list[tuple[float, ...]],
    median: float,
    left: int,
) -> None:
    monkeypatch.setattr(steal, "share", lambda _before, _after: 0.0)
    workbench = Scripted(memory.connect("profiler"), script=script)

    record = await networks.steadiest(workbench, "cpu", InferBody(model="m"), {})

    assert fit.latency(record, batch=1).p50 == median
    assert len(script) == left
