"""A worker whose device is away or wrong takes no work, says so, and gives out nothing of it."""

from collections.abc import Callable, Mapping

import anyio
import numpy as np
import pytest

from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus
from shared.chassis import compute, crosscheck, worker
from shared.chassis.crosscheck import Crosscheck, Sample
from shared.chassis.fitness import Fitness, State
from shared.chassis.settings import WorkerSettings
from shared.chassis.watch import Watch
from shared.contracts import frame, packed, subjects
from shared.contracts.errors import DeviceLost
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import InferBody, JobEvent, JobSubmitted, Status
from shared.contracts.v1.workers import WorkerCard, WorkerEvent
from shared.network import execute
from shared.network.graph import Network, Step
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Attributes, OperatorSpec
from shared.tensors import layouts
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType
from tests.services.compute_house import CARD, call, first_output, rows, scaling, store
from tests.services.worker_house import Script, ended, failing, job, place, stored, succeed

SETTINGS = WorkerSettings(retry_delay=0.0)


class Wrong(ReferenceBackend):
    """A device that is off by a little in one place."""

    def run(
        self, spec: OperatorSpec, inputs: Mapping[str, Tensor], attributes: Attributes
    ) -> dict[str, Tensor]:
        """Compute, then spoil the last value."""
        made = super().run(spec, inputs, attributes)
        made["y"].values[-1, -1] += np.float32(0.5)
        return made


# a device that is away


async def test_a_worker_pulls_nothing_while_its_device_is_away_and_all_of_it_afterwards(
    memory: MemoryBroker,
) -> None:
    fitness, script = Fitness(), Script([succeed])
    fitness.become(State.AWAY, "killed by SIGABRT")
    async with anyio.create_task_group() as group:
        bus = await _working(memory, group, script, fitness)
        await place(bus, job())
        card = await _card(bus, lambda card: card.draining)
        called = list(script.called)
        fitness.become(State.UNREADY, "3 failures in a row")
        await _card(bus, lambda card: card.unready == "3 failures in a row")

        fitness.become(State.FIT)
        record = await ended(bus, job())
        group.cancel_scope.cancel()

    assert (card.unready, card.quarantined, card.artifacts) == ("killed by SIGABRT", None, ())
    assert called == []
    assert record.status is Status.SUCCEEDED


async def test_every_change_of_a_device_is_stored_with_its_reason(memory: MemoryBroker) -> None:
    fitness = Fitness()
    async with anyio.create_task_group() as group:
        bus = await _working(memory, group, Script([succeed]), fitness)
        await _card(bus, lambda card: not card.draining)
        fitness.become(State.UNREADY, "3 failures in a row")
        unready = await _event(bus, "unready")
        await _card(bus, lambda card: card.draining)

        fitness.become(State.FIT)
        fit = await _event(bus, "fit")
        card = await _card(bus, lambda card: not card.draining)
        group.cancel_scope.cancel()

    assert (unready.worker_class, unready.reason) == ("cpu", "3 failures in a row")
    assert fit.reason == ""
    assert (card.unready, card.quarantined) == (None, None)


async def test_a_job_whose_device_was_lost_is_said_to_be_returned_and_runs_again(
    memory: MemoryBroker,
) -> None:
    script = Script([failing(DeviceLost("killed by SIGABRT")), succeed])
    async with anyio.create_task_group() as group:
        bus = await _working(memory, group, script, Fitness())
        await place(bus, job())
        record = await ended(bus, job())
        stored = await bus.last(Stream.AUDIT, subjects.audit("acme", "j1", "returned"))
        group.cancel_scope.cancel()

    assert (record.status, record.attempt) == (Status.SUCCEEDED, 2)
    assert stored is not None
    event = JobEvent.decode(stored.data)
    assert (event.worker_class, event.reason) == ("cpu", "EL-1304: killed by SIGABRT")


async def test_interactive_calls_are_refused_at_once_while_the_device_is_away(
    memory: MemoryBroker,
) -> None:
    watch = Watch()
    async with anyio.create_task_group() as group:
        bus, artifact = await _serving(memory, group, ReferenceBackend(), watch)
        watch.fitness.become(State.AWAY, "killed by SIGABRT")
        away, _ = await _ask(bus, artifact)

        watch.fitness.become(State.FIT)
        answer, y = await _ask(bus, artifact)
        group.cancel_scope.cancel()

    assert (away.code, away.message) == ("EL-1304", "worker cpu-1: killed by SIGABRT")
    assert answer.code == ""
    assert np.array_equal(y, 2 * rows(1.0))


# a device that computes wrongly


async def test_a_wrong_device_is_quarantined_by_its_first_run_and_serves_no_more(
    memory: MemoryBroker,
) -> None:
    fitness = Fitness()
    watch = Watch(fitness, Crosscheck(fitness))
    async with anyio.create_task_group() as group:
        bus, artifact = await _serving(memory, group, Wrong(), watch)
        await _ask(bus, artifact)  # may be given out: nobody waits for the check
        event = await _event(bus, "quarantined")
        card = await _card(bus, lambda card: card.quarantined)
        refused, _ = await _ask(bus, artifact)
        group.cancel_scope.cancel()

    # y = 2 x; the last value is 2 * 1.5, and was spoilt by 0.5
    assert "output 'y' is 3.5 at (0, 2), not 3" in event.reason
    assert event.reason == card.quarantined
    assert card.draining
    assert refused.code == "EL-1304"


async def test_a_wrong_result_of_a_durable_job_is_not_given_out(memory: MemoryBroker) -> None:
    fitness = Fitness()
    watch = Watch(fitness, Crosscheck(fitness))
    wanted = JobSubmitted(job="j1", tenant="acme", body=InferBody(model="scale"))
    async with anyio.create_task_group() as group:
        bus, _ = await _serving(memory, group, Wrong(), watch)
        await _place_with(bus, wanted)
        await _event(bus, "quarantined")
        returned = await _stored(bus, subjects.audit("acme", "j1", "returned"))
        record = await bus.last(Stream.RESULTS, subjects.result("acme", "j1"))
        group.cancel_scope.cancel()

    assert "takes no work" in JobEvent.decode(returned).reason
    assert record is None


def test_the_first_run_and_then_a_share_of_the_runs_is_checked() -> None:
    check = Crosscheck(Fitness(), every=3)
    loaded = execute.load(scaling(), ReferenceBackend())
    inputs = {"x": layouts.dense(rows(1.0))}
    outputs = loaded.run(inputs)

    chosen = [check.offer("a" * 64, loaded, inputs, outputs) for _ in range(7)]

    assert [each is not None for each in chosen] == [True, False, True, False, False, True, False]
    assert [each.result(timeout=10) for each in chosen if each is not None] == ["", "", ""]


def test_a_check_never_waits_for_the_checks_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Crosscheck(Fitness(), every=1)
    monkeypatch.setattr(Crosscheck, "_work", lambda _self: None)  # nothing is ever done
    loaded = execute.load(scaling(), ReferenceBackend())
    inputs = {"x": layouts.dense(rows(1.0))}
    outputs = loaded.run(inputs)

    for _ in range(crosscheck.WAITING + 3):
        check.offer("a" * 64, loaded, inputs, outputs)

    assert check.skipped == 3


@pytest.mark.parametrize("batch", [1, 5, 300])
def test_one_wrong_row_is_found_when_it_is_among_those_looked_at(batch: int) -> None:
    inputs = {"x": layouts.dense(np.ones((batch, 3), np.float32))}
    outputs = execute.load(scaling(), ReferenceBackend()).run(inputs)
    outputs["y"].values[:, 1] = 7.0

    wrong = crosscheck.check(Sample("a" * 64, scaling(), inputs, outputs), np.random.default_rng(1))

    assert "output 'y' is 7 at (0, 1), not 2" in wrong


def test_rounding_is_not_taken_for_a_fault() -> None:
    rng = np.random.default_rng(3)
    inputs = {"x": layouts.dense(rng.standard_normal((4, 3), dtype=np.float32))}
    outputs = execute.load(scaling(), ReferenceBackend()).run(inputs)
    near = {"y": layouts.dense(outputs["y"].values * np.float32(1 + 3e-7))}

    assert crosscheck.check(Sample("a" * 64, scaling(), inputs, near), rng) == ""


def test_nan_and_infinity_are_equal_to_themselves() -> None:
    x = np.array([[np.nan, np.inf, 1.0]], np.float32)
    network = _relu()
    outputs = execute.load(network, ReferenceBackend()).run({"x": layouts.dense(x)})

    sample = Sample("a" * 64, network, {"x": layouts.dense(x)}, outputs)

    assert crosscheck.check(sample, np.random.default_rng(1)) == ""


def _relu() -> Network:
    step = Step("cut", "relu", {"x": "x"}, {"y": "y"})
    return Network({"x": TensorType(Layout.DENSE, Dtype.F32, (None, 3))}, ("y",), (step,), {})


async def _working(
    memory: MemoryBroker, group: anyio.abc.TaskGroup, script: Script, fitness: Fitness
) -> Bus:
    """A worker with a scripted handler; ends with the group."""

    async def run() -> None:
        card = CARD.model_copy(update={"slots": 1})
        await worker.serve(memory.connect("cpu-1"), card, script, SETTINGS, fitness=fitness)

    group.start_soon(run)
    return memory.connect("test")


async def _serving(
    memory: MemoryBroker, group: anyio.abc.TaskGroup, backend: ReferenceBackend, watch: Watch
) -> tuple[Bus, str]:
    """A whole worker with one model loaded; its digest."""

    async def run() -> None:
        await compute.serve(memory.connect("cpu-1"), backend, CARD, SETTINGS, watch)

    bus = memory.connect("test")
    artifact = await store(bus, "scale", scaling())
    group.start_soon(run)
    await _card(bus, lambda card: artifact in card.artifacts)
    return bus, artifact


async def _ask(bus: Bus, artifact: str) -> tuple[packed.Answer, np.ndarray]:
    """One interactive call with x = (1, 1.25, 1.5)."""
    subject = subjects.interactive_worker("cpu-1")
    reply = await bus.request(subject, call(artifact, rows(1.0)), timeout=5)
    ((answer, body),) = packed.answers(reply)
    return answer, first_output(answer, body)


async def _card(bus: Bus, fits: Callable[[WorkerCard], object]) -> WorkerCard:
    """The worker's card, as soon as it is as wanted."""
    with anyio.fail_after(10):
        async with bus.watch(Bucket.WORKERS) as entries:
            async for entry in entries:
                card = WorkerCard.decode(entry.value) if entry.value else None
                if card is not None and fits(card):
                    return card
    raise AssertionError("the watch ended")


async def _event(bus: Bus, what: str) -> WorkerEvent:
    """What was stored of the worker's device."""
    return WorkerEvent.decode(await _stored(bus, subjects.worker_audit("cpu-1", what)))


async def _stored(bus: Bus, subject: str) -> bytes:
    """The newest message of EL_AUDIT under a subject, as soon as there is one."""
    return (await stored(bus, Stream.AUDIT, subject, subject)).data


async def _place_with(bus: Bus, wanted: JobSubmitted) -> None:
    """Place an infer job with its input."""
    data = frame.encode(wanted, {"x": layouts.dense(rows(1.0))})
    await place(bus, wanted, data=data)
