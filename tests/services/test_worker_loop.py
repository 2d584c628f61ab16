"""The durable loop: what is executed, what is recorded, what comes again, and what is buried."""

import time

import anyio
import numpy as np
import pytest

from shared.bus.memory import MemoryBroker, MemoryBus
from shared.bus.port import Inbound
from shared.bus.topology import TOPOLOGY
from shared.chassis import payload
from shared.chassis.handler import Outcome
from shared.contracts import frame, subjects
from shared.contracts.errors import DeviceFailed, InvalidTensor, JobCancelled, QueueFull
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import BlobRef, JobFinished, Status, TensorRef
from shared.contracts.v1.workers import Heartbeat, WorkerCard
from shared.tensors import layouts
from tests.services.worker_house import (
    Patient,
    Script,
    ended,
    failing,
    job,
    pending,
    place,
    stored,
    stored_end,
    succeed,
    working,
)


async def test_a_job_is_executed_recorded_with_its_outputs_and_acknowledged(
    memory: MemoryBroker,
) -> None:
    async with working(memory, Script([succeed])) as bus:
        await place(bus, job())
        record, tensors = frame.decode((await stored_end(bus, job())).data, JobFinished)

    assert (record.status, record.attempt, record.worker) == (Status.SUCCEEDED, 1, "cpu-1")
    assert tensors["y"].values.tolist() == [1.0, 2.0]
    assert await pending(memory) == 0


async def test_a_poison_job_ends_as_a_dead_letter_with_its_last_error(
    memory: MemoryBroker,
) -> None:
    errors = [failing(RuntimeError(f"broken pipe {turn}")) for turn in (1, 2, 3, 4)]
    script = Script(errors)

    async with working(memory, script) as bus:
        data = await place(bus, job())
        record = await ended(bus, job())

    letter = await bus.last(Stream.DEAD, subjects.dead(Stream.RUN, "attempts"))
    assert len(script.called) == 4
    assert record.status is Status.FAILED
    assert record.failure is not None
    assert record.failure.code == "EL-1301"
    assert "broken pipe 4" in record.failure.message
    assert letter is not None
    assert letter.data == data
    assert letter.headers["El-Error"] == "RuntimeError: broken pipe 4"
    assert letter.headers["El-Attempts"] == "4"
    assert letter.headers["El-Job"] == "acme.j1"
    assert await pending(memory) == 0


async def test_placements_count_as_attempts_like_deliveries_do(memory: MemoryBroker) -> None:
    script = Script([failing(DeviceFailed("out of memory"))])

    async with working(memory, script) as bus:
        await place(bus, job(), attempt=4)
        record = await ended(bus, job())

    assert (len(script.called), record.attempt, record.status) == (1, 4, Status.FAILED)


async def test_a_mistake_of_the_caller_fails_at_once_under_its_own_code(
    memory: MemoryBroker,
) -> None:
    script = Script([failing(InvalidTensor("x has 3 columns, not 4"))])

    async with working(memory, script) as bus:
        await place(bus, job())
        record = await ended(bus, job())

    assert record.failure is not None
    assert (record.failure.code, record.failure.retryable) == ("EL-1102", False)
    assert len(script.called) == 1
    assert await bus.history(Stream.DEAD, subjects.ALL_DEAD) == []
    assert await pending(memory) == 0


async def test_a_job_that_raises_is_tried_again_and_may_succeed(memory: MemoryBroker) -> None:
    script = Script([failing(OSError("lost")), failing(OSError("lost")), succeed])

    async with working(memory, script) as bus:
        await place(bus, job())
        record = await ended(bus, job())

    assert (record.status, record.attempt) == (Status.SUCCEEDED, 3)


async def test_an_error_inside_a_task_group_is_judged_by_its_own_kind(
    memory: MemoryBroker,
) -> None:
    nested = ExceptionGroup("tasks", [ExceptionGroup("more", [InvalidTensor("no rows")])])

    async with working(memory, Script([failing(nested)])) as bus:
        await place(bus, job())
        record = await ended(bus, job())

    assert record.failure is not None
    assert (record.failure.code, record.failure.message) == ("EL-1102", "no rows")


async def test_a_redelivered_job_that_has_finished_is_skipped(memory: MemoryBroker) -> None:
    script = Script([succeed])
    bus = memory.connect("earlier")
    done = JobFinished(job="j1", tenant="acme", kind="operator", status=Status.SUCCEEDED)
    await bus.write_result(subjects.result("acme", "j1"), done.encode())

    async with working(memory, script) as bus:
        await place(bus, job(), attempt=2)
        await place(bus, job("j2"))
        await ended(bus, job("j2"))

    assert script.called == ["j2"]
    assert await pending(memory) == 0


async def test_a_job_placed_twice_at_one_worker_runs_once(memory: MemoryBroker) -> None:
    patient = Patient()
    async with working(memory, patient, slots=2) as bus:
        await place(bus, job())
        await patient.started.wait()
        patient.started = anyio.Event()
        await place(bus, job(), attempt=2)
        patient.release.set()
        record = await ended(bus, job())

    assert record.attempt == 1
    assert not patient.started.is_set()
    assert await pending(memory) == 0


async def test_cancelling_a_running_job_tears_it_away_and_records_it(
    memory: MemoryBroker,
) -> None:
    patient = Patient()
    async with working(memory, patient) as bus:
        await place(bus, job())
        await patient.started.wait()
        await bus.publish(subjects.cancel("j1"), b"acme")
        record = await ended(bus, job())

    assert patient.torn
    assert record.status is Status.CANCELLED
    assert record.failure is not None
    assert record.failure.code == JobCancelled.code


async def test_a_cancel_for_another_tenant_leaves_the_job_alone(memory: MemoryBroker) -> None:
    patient = Patient()
    async with working(memory, patient) as bus:
        await place(bus, job())
        await patient.started.wait()
        heard = anyio.Event()
        await bus.subscribe(subjects.ALL_CANCELS, lambda _: heard.set())
        await bus.publish(subjects.cancel("j1"), b"other")
        await heard.wait()
        patient.release.set()
        record = await ended(bus, job())

    assert record.status is Status.SUCCEEDED


async def test_a_job_cancelled_before_it_came_is_not_executed(memory: MemoryBroker) -> None:
    script = Script([succeed])
    async with working(memory, script) as bus:
        await bus.put(Bucket.CONTROL, "cancel.j1", b"acme")
        await place(bus, job())
        record = await ended(bus, job())

    assert (record.status, script.called) == (Status.CANCELLED, [])


@pytest.mark.parametrize("first", ["cancel", "completion"])
async def test_cancel_and_completion_leave_exactly_one_record(
    memory: MemoryBroker, first: str
) -> None:
    patient = Patient()
    cancelled = JobFinished(job="j1", tenant="acme", kind="operator", status=Status.CANCELLED)
    subject = subjects.result("acme", "j1")
    async with working(memory, patient) as bus:
        await place(bus, job())
        await patient.started.wait()
        if first == "completion":
            patient.release.set()
            await ended(bus, job())
        wrote = await bus.write_result(subject, cancelled.encode())
        patient.release.set()
        await bus.publish(subjects.cancel("j1"), b"acme")

    records = await bus.history(Stream.RESULTS, subjects.ALL_RESULTS)
    assert wrote is (first == "cancel")
    assert len(records) == 1
    assert (await ended(bus, job())).status is (
        Status.CANCELLED if first == "cancel" else Status.SUCCEEDED
    )
    assert await pending(memory) == 0


async def test_an_expired_job_is_recorded_and_not_executed(memory: MemoryBroker) -> None:
    script = Script([succeed])
    async with working(memory, script) as bus:
        await place(bus, job(deadline=time.time() - 1.0))
        record = await ended(bus, job())

    assert (record.status, script.called) == (Status.EXPIRED, [])


async def test_a_job_is_stopped_at_its_deadline(memory: MemoryBroker) -> None:
    patient = Patient()
    async with working(memory, patient) as bus:
        await place(bus, job(deadline=time.time() + 0.05))
        record = await ended(bus, job())

    assert (record.status, patient.torn) == (Status.EXPIRED, True)


async def test_a_frame_that_does_not_parse_becomes_a_dead_letter(memory: MemoryBroker) -> None:
    async with working(memory, Script([succeed])) as bus:
        subject = subjects.dead(Stream.RUN, "malformed")
        await place(bus, job(), data=b"{ not json")
        letter = await stored(bus, Stream.DEAD, subject, subject)

    assert letter.data == b"{ not json"
    assert letter.headers["El-Code"] == "EL-1101"
    assert await pending(memory) == 0


async def test_a_job_whose_tensors_are_broken_fails_by_name(memory: MemoryBroker) -> None:
    whole = frame.encode(job(), {"x": layouts.dense(np.zeros(8, np.float32))})

    async with working(memory, Script([succeed])) as bus:
        await place(bus, job(), data=whole[:-4])
        record = await ended(bus, job())

    assert record.status is Status.FAILED
    assert record.failure is not None
    assert record.failure.code in {"EL-1101", "EL-1102"}


async def test_a_job_whose_blob_is_missing_fails_at_once(memory: MemoryBroker) -> None:
    nowhere = TensorRef(blob=BlobRef(sha256="0" * 64, size=4), dtype="f32", shape=(1,))
    script = Script([succeed])

    async with working(memory, script) as bus:
        await place(bus, job(tensors={"x": nowhere}))
        record = await ended(bus, job())

    assert record.failure is not None
    assert (record.failure.code, script.called) == ("EL-1303", [])


async def test_an_output_too_large_for_a_record_is_stored_as_a_blob(memory: MemoryBroker) -> None:
    large = layouts.dense(np.arange(100_000, dtype=np.float32))
    small = layouts.dense(np.arange(3, dtype=np.float32))
    script = Script([lambda: Outcome({"large": large, "small": small})])

    async with working(memory, script) as bus:
        await place(bus, job())
        record, inline = frame.decode((await stored_end(bus, job())).data, JobFinished)
        fetched = await payload.fetch(bus, record.tensors)

    assert list(inline) == ["small"]
    assert np.array_equal(fetched["large"].values, large.values)


async def test_a_full_result_stream_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    crowded = MemoryBroker(TOPOLOGY.with_stream(Stream.RESULTS, max_messages=1))
    refused = anyio.Event()
    write = MemoryBus.write_result

    async def watched(bus: MemoryBus, subject: str, data: bytes) -> bool:
        try:
            return await write(bus, subject, data)
        except QueueFull:
            refused.set()
            raise

    monkeypatch.setattr(MemoryBus, "write_result", watched)
    script = Script([succeed])
    async with working(crowded, script) as bus:
        await bus.write_result(subjects.result("acme", "j0"), b"{}")
        await place(bus, job())
        await refused.wait()
        held = await bus.last(Stream.RESULTS, subjects.result("acme", "j0"))
        assert held is not None
        await bus.delete(Stream.RESULTS, held.sequence)
        record = await ended(bus, job())

    assert (record.status, script.called) == (Status.SUCCEEDED, ["j1"])


async def test_a_drain_finishes_what_is_in_hand_and_takes_nothing_more(
    memory: MemoryBroker,
) -> None:
    patient = Patient()
    async with anyio.create_task_group() as group:
        async with working(memory, patient, grace=5.0) as bus:
            await place(bus, job())
            await patient.started.wait()
            await place(bus, job("j2"))
            subject = subjects.heartbeat("cpu-1")
            await bus.subscribe(subject, lambda beat: _release_when_draining(patient, beat))
        group.cancel_scope.cancel()

    assert (await ended(bus, job())).status is Status.SUCCEEDED
    assert await bus.last(Stream.RESULTS, subjects.result("acme", "j2")) is None
    assert await pending(memory) == 1


def _release_when_draining(patient: Patient, beat: Inbound) -> None:
    if Heartbeat.decode(beat.data).draining:
        patient.release.set()


async def test_what_a_grace_is_too_short_for_is_given_back_at_once(memory: MemoryBroker) -> None:
    patient = Patient()
    async with working(memory, patient, grace=0.0) as bus:
        await place(bus, job())
        await patient.started.wait()

    async with working(memory, Script([succeed]), name="cpu-2") as bus:
        with anyio.fail_after(2):
            record = await ended(bus, job())

    assert patient.torn
    assert (record.worker, record.attempt) == ("cpu-2", 2)


async def test_a_worker_shows_a_card_and_what_it_has_in_hand(memory: MemoryBroker) -> None:
    patient = Patient()
    beats: list[Heartbeat] = []
    busy = anyio.Event()

    def hear(message: Inbound) -> None:
        beats.append(Heartbeat.decode(message.data))
        if beats[-1].running:
            busy.set()

    async with working(memory, patient, slots=3) as bus:
        await bus.subscribe(subjects.heartbeat("cpu-1"), hear)
        await place(bus, job())
        await busy.wait()
        entry = await bus.get(Bucket.WORKERS, "cpu-1")
        patient.release.set()

    assert entry is not None
    assert WorkerCard.decode(entry.value or b"").kinds == ("operator",)
    assert next(beat.running for beat in beats if beat.running) == ("acme.j1",)
    assert next(beat.free for beat in beats if beat.running) == 2
    assert await bus.get(Bucket.WORKERS, "cpu-1") is None


async def test_a_bus_that_goes_away_and_comes_back_costs_no_job(memory: MemoryBroker) -> None:
    patient = Patient()
    async with working(memory, patient) as bus:
        await place(bus, job())
        await patient.started.wait()
        with memory.outage():
            patient.release.set()
            await anyio.lowlevel.checkpoint()
        record = await ended(bus, job())

    assert record.status is Status.SUCCEEDED
    assert await pending(memory) == 0
