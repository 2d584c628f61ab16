"""The driver between a broker in memory and the machine: what clients and workers see of it."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from services.scheduler import driver
from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus, Stored
from shared.contracts import frame, subjects
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import (
    BlobRef,
    JobEvent,
    JobSubmitted,
    Status,
)
from shared.contracts.v1.models import ModelManifest, PortSignature, Route, Variant
from shared.contracts.v1.workers import Heartbeat, WorkerCard
from shared.tensors import container
from tests.services import gateway_house
from tests.services.worker_house import Script, ended, job, stored, succeed, working

CARD = WorkerCard(
    worker="cpu-1",
    worker_class="cpu",
    service="cpu-worker",
    pid=1,
    kinds=("infer", "operator"),
)


@asynccontextmanager
async def leading(broker: MemoryBroker, name: str = "sched-1") -> AsyncIterator[Bus]:
    """A scheduler for the length of the block; yields a bus of the test's own."""
    async with anyio.create_task_group() as group:
        group.start_soon(driver.lead, broker.connect(name))
        yield broker.connect("test")
        group.cancel_scope.cancel()


async def submit(bus: Bus, whole: JobSubmitted, *, message_id: str = "") -> bytes:
    """Publish a job as any client may."""
    data = frame.encode(whole)
    subject = subjects.job(whole.tenant, whole.body.kind)
    name = message_id or f"{whole.tenant}.{whole.job}"
    await bus.publish_once(subject, data, message_id=name)
    return data


async def newest(bus: Bus, stream: Stream, subject: str, *, attempt: str = "") -> Stored:
    """The newest message of a subject with wildcards, as soon as there is one of that attempt."""
    with anyio.fail_after(10):
        while True:
            for found in reversed(await bus.history(stream, subject)):
                if found.headers.get("El-Attempt", "").startswith(attempt):
                    return found
            await anyio.sleep(0.01)  # streams announce nothing: look again


async def drained(bus: Bus) -> None:
    """Return when no job waits and none is placed."""
    queues = ((Stream.JOBS, subjects.ALL_JOBS), (Stream.RUN, subjects.ALL_RUNS))
    with anyio.fail_after(10):
        for stream, subject in queues:
            while await bus.history(stream, subject):  # noqa: ASYNC110  # as above
                await anyio.sleep(0.01)


async def test_a_job_of_any_client_is_placed_run_and_recorded(memory: MemoryBroker) -> None:
    async with leading(memory) as bus, working(memory, Script([succeed])):
        data = await submit(bus, job())
        record = await ended(bus, job())
        await drained(bus)

    assert record.status is Status.SUCCEEDED
    assert record.digest == container.digest(data)


async def test_the_placed_bytes_are_those_submitted_and_headers_say_the_rest(
    memory: MemoryBroker,
) -> None:
    async with leading(memory) as bus:
        await bus.put(Bucket.WORKERS, CARD.worker, CARD.encode())
        data = await submit(bus, job())
        placed = await newest(bus, Stream.RUN, subjects.ALL_RUNS)

    assert placed.subject == subjects.run("cpu", "operator")
    assert placed.data == data
    wanted = {
        "Nats-Msg-Id": "acme.j1.1",
        "El-Job": "acme.j1",
        "El-Kind": "operator",
        "El-Attempt": "1",
        "El-Digest": container.digest(data),
    }
    assert wanted.items() <= dict(placed.headers).items()


async def test_many_jobs_of_two_tenants_all_end_and_leave_nothing(memory: MemoryBroker) -> None:
    names = [(f"j{number}", tenant) for number in range(40) for tenant in ("a", "b")]

    async with leading(memory) as bus, working(memory, Script([succeed])):
        for name, tenant in names:
            await submit(bus, job(name, tenant=tenant))
        records = [await ended(bus, job(name, tenant=tenant)) for name, tenant in names]
        await drained(bus)

    assert {record.status for record in records} == {Status.SUCCEEDED}


async def test_what_is_no_job_is_kept_as_a_dead_letter(memory: MemoryBroker) -> None:
    async with leading(memory) as bus:
        await bus.publish_once(subjects.job("acme", "operator"), b"nonsense", message_id="x")
        letter = await newest(bus, Stream.DEAD, subjects.dead(Stream.JOBS, "malformed"))
        await drained(bus)

    assert letter.data == b"nonsense"
    assert "not a frame" in letter.headers["El-Error"]


@pytest.mark.parametrize("tokens", ["ev!l.operator", "acme.ev!l"])
async def test_a_token_that_no_subject_may_hold_stops_nobody(
    memory: MemoryBroker, tokens: str
) -> None:
    subject = f"{subjects.PREFIX}.job.{tokens}"

    async with leading(memory) as bus, working(memory, Script([succeed])):
        await bus.publish_once(subject, frame.encode(job("j0")), message_id="x")
        letter = await newest(bus, Stream.DEAD, subjects.dead(Stream.JOBS, "malformed"))
        await submit(bus, job())
        record = await ended(bus, job())
        await drained(bus)

    assert letter.headers["El-Job"] == "unknown.unknown"
    assert letter.headers["El-Code"] == "EL-1101"
    assert letter.headers["El-Attempts"] == "1"
    assert letter.headers["El-Subject"] == subject
    assert letter.data == frame.encode(job("j0"))
    assert record.status is Status.SUCCEEDED


@pytest.mark.parametrize(
    ("tokens", "headers"),
    [("run.ev!l.operator", {}), ("run.cpu.operator", {"El-Attempt": "9" * 5000})],
    ids=["class", "attempt"],
)
async def test_an_attempt_nobody_could_have_placed_does_not_stop_a_successor(
    memory: MemoryBroker, tokens: str, headers: dict[str, str]
) -> None:
    outside = memory.connect("outside")
    await outside.publish_once(
        f"{subjects.PREFIX}.{tokens}", frame.encode(job("j0")), message_id="x", headers=headers
    )

    async with leading(memory) as bus:
        await bus.put(Bucket.WORKERS, CARD.worker, CARD.encode())
        await submit(bus, job("j1"))
        placed = await newest(bus, Stream.RUN, subjects.run("cpu", "operator"), attempt="1")

    assert placed.data == frame.encode(job("j1"))


async def test_a_broadcast_on_an_impossible_subject_is_passed_over(memory: MemoryBroker) -> None:
    async with leading(memory) as bus, working(memory, Script([succeed])):
        await submit(bus, job("j1"))
        await ended(bus, job("j1"))
        for tokens in ("done.ev!l.j1", "done.acme", "evt.a.b.started", "hb.x", "ctl.cancel.ev!l"):
            await bus.publish(f"{subjects.PREFIX}.{tokens}", b"nonsense")
        await submit(bus, job("j2"))
        record = await ended(bus, job("j2"))

    assert record.status is Status.SUCCEEDED


@pytest.mark.parametrize(
    ("tenant", "kind", "data"),
    [
        ("acme", "dance", b'{"type":"jobs.submitted.v1","job":"j1","body":{"kind":"dance"}}'),
        ("other", "operator", frame.encode(job())),
        ("acme", "infer", frame.encode(job())),
    ],
    ids=["unknown kind", "another tenant", "another kind"],
)
async def test_a_job_that_contradicts_itself_gets_a_record_that_says_so(
    memory: MemoryBroker, tenant: str, kind: str, data: bytes
) -> None:
    whole = job(tenant=tenant)

    async with leading(memory) as bus:
        await bus.publish_once(subjects.job(tenant, kind), data, message_id="x")
        record = await ended(bus, whole)
        await drained(bus)

    assert record.status is Status.FAILED
    assert record.failure is not None
    assert record.failure.code == "EL-1101"


async def test_the_second_body_of_an_id_is_refused_and_the_first_stands(
    memory: MemoryBroker,
) -> None:
    async with leading(memory) as bus, working(memory, Script([succeed])):
        data = await submit(bus, job())
        record = await ended(bus, job())
        await submit(bus, job(priority=0), message_id="again")
        await newest(bus, Stream.DEAD, subjects.dead(Stream.JOBS, "job_id_reused"))
        await drained(bus)
        after = await ended(bus, job())

    assert record == after
    assert after.digest == container.digest(data)


async def test_an_expired_job_never_runs(memory: MemoryBroker) -> None:
    script = Script([succeed])

    async with leading(memory) as bus, working(memory, script):
        await submit(bus, job(deadline=time.time() - 1.0))
        record = await ended(bus, job())

    assert record.status is Status.EXPIRED
    assert script.called == []


async def test_a_cancelled_job_that_waits_is_ended(memory: MemoryBroker) -> None:
    async with leading(memory) as bus:
        await submit(bus, job())
        await newest(bus, Stream.AUDIT, subjects.audit("acme", "j1", "accepted"))
        await bus.publish(subjects.cancel("j1"), b"acme")
        record = await ended(bus, job())
        await drained(bus)

    assert record.status is Status.CANCELLED


async def test_a_cancel_that_was_only_stored_counts_too(memory: MemoryBroker) -> None:
    async with leading(memory) as bus:
        await submit(bus, job())
        await newest(bus, Stream.AUDIT, subjects.audit("acme", "j1", "accepted"))
        await bus.put(Bucket.CONTROL, "cancel.j1", b"acme")
        record = await ended(bus, job())

    assert record.status is Status.CANCELLED


async def test_a_job_of_a_nats_client_is_cancelled_over_grpc_before_it_is_placed(
    memory: MemoryBroker,
) -> None:
    async with leading(memory) as bus, gateway_house.opened(memory, workers=()) as house:
        await submit(bus, job(tenant="default"))
        await newest(bus, Stream.AUDIT, subjects.audit("default", "j1", "accepted"))
        record = await house.client.cancel("j1")
        left = await bus.history(Stream.JOBS, subjects.ALL_JOBS)

    assert (record.status, record.kind) == (Status.CANCELLED, "operator")
    assert left == []


async def test_a_standby_takes_over_when_the_leader_goes(memory: MemoryBroker) -> None:
    async with leading(memory, "sched-2") as bus, working(memory, Script([succeed])):
        async with leading(memory, "sched-1"):
            await submit(bus, job("before"))
            await ended(bus, job("before"))
        await submit(bus, job("after"))
        record = await ended(bus, job("after"))

    assert record.status is Status.SUCCEEDED


async def test_a_lease_that_nobody_renews_passes_on_within_three_seconds(
    memory: MemoryBroker,
) -> None:
    crashed = memory.connect("crashed")
    await crashed.swap(Bucket.LEADER, driver.LEASE, b"crashed", revision=0, ttl=2.0)

    async with leading(memory) as bus, working(memory, Script([succeed])):
        await submit(bus, job())
        with anyio.fail_after(3.0):
            record = await ended(bus, job())

    assert record.status is Status.SUCCEEDED


async def test_a_successor_leaves_what_is_placed_where_it_is(memory: MemoryBroker) -> None:
    async with leading(memory) as bus:
        await bus.put(Bucket.WORKERS, CARD.worker, CARD.encode())
        await submit(bus, job())
        await newest(bus, Stream.RUN, subjects.ALL_RUNS)

    async with leading(memory, "sched-2") as bus:
        await submit(bus, job("j2"))
        await newest(bus, Stream.AUDIT, subjects.audit("acme", "j2", "placed"))
        placed = await bus.history(Stream.RUN, subjects.ALL_RUNS)

    assert [each.headers["El-Job"] for each in placed] == ["acme.j1", "acme.j2"]


async def test_lost_acknowledgements_of_the_broker_double_nothing(memory: MemoryBroker) -> None:
    script = Script([succeed])

    async with leading(memory) as bus, working(memory, script):
        memory.lose_acks(3)
        await submit(bus, job())
        record = await ended(bus, job())
        await drained(bus)

    assert record.status is Status.SUCCEEDED
    assert script.called == ["j1"]


async def test_a_silent_workers_job_is_placed_again(memory: MemoryBroker) -> None:
    async with leading(memory) as bus:
        await bus.put(Bucket.WORKERS, CARD.worker, CARD.encode())
        await submit(bus, job())
        await newest(bus, Stream.RUN, subjects.ALL_RUNS)
        beat = Heartbeat(worker="cpu-1", worker_class="cpu", slots=1, free=0, running=("acme.j1",))
        await bus.publish(subjects.heartbeat("cpu-1"), beat.encode())
        again = await newest(bus, Stream.RUN, subjects.ALL_RUNS, attempt="2")
        with anyio.fail_after(10):
            # the earlier attempt is deleted once the later one is stored
            while len(left := await bus.history(Stream.RUN, subjects.ALL_RUNS)) > 1:  # noqa: ASYNC110
                await anyio.sleep(0.01)

    assert again.data == frame.encode(job())
    assert [each.headers["El-Attempt"] for each in left] == ["2"]


async def test_every_change_of_a_job_is_in_the_audit(memory: MemoryBroker) -> None:
    async with leading(memory) as bus, working(memory, Script([succeed])):
        data = await submit(bus, job())
        await ended(bus, job())
        subject = subjects.audit("acme", "j1", "ended")
        await stored(bus, Stream.AUDIT, subject, subject)
        told = await bus.history(Stream.AUDIT, subjects.ALL_AUDIT)

    events = {event.what: event for event in (JobEvent.decode(each.data) for each in told)}
    assert events.keys() == {"accepted", "placed", "started", "ended"}
    assert events["accepted"].digest == container.digest(data)
    assert (events["accepted"].kind, events["accepted"].sequence) == ("operator", 1)
    assert events["placed"].worker_class == "cpu"
    assert events["placed"].reason.startswith("cpu ends in")
    assert events["ended"].reason == "succeeded"


async def test_a_model_gets_a_route_that_follows_its_workers(memory: MemoryBroker) -> None:
    port = PortSignature(name="x", dtype="f32", shape=(-1, 4))
    blob = BlobRef(sha256="a" * 64, size=64)
    variant = Variant(name="dense", artifact=blob, weight_bytes=64)
    manifest = ModelManifest(model="m", inputs=(port,), outputs=(port,), variants=(variant,))

    async with leading(memory) as bus, bus.watch(Bucket.ROUTES) as changes:
        await bus.put(Bucket.WORKERS, CARD.worker, CARD.encode())
        await bus.put(Bucket.MODELS, "m", manifest.encode())
        with anyio.fail_after(10):
            async for entry in changes:
                route = Route.decode(entry.value or b"")
                if route.choices["dense"]:
                    break

    assert entry.key == "model.m"
    assert [one.worker_class for one in route.choices["dense"]] == ["cpu"]
