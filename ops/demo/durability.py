"""The demo's second half: durable jobs from plain nats-py, and a worker killed among them."""

import json
import os
import signal
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable

import anyio
import nats
import numpy as np
import scipy.sparse
from nats.aio.client import Client as Nats
from safetensors import numpy as safetensors

from ops.demo.findings import Findings, JobSpan, KillTest
from ops.demo.story import Story

JOBS = 200
KILL_AFTER = 60  # results
TENANT = "demo"
PATIENCE = 60.0  # [s] for all jobs


async def operator_job(address: str, findings: Findings, story: Story) -> None:
    """Publish one sparse product with nats-py and safetensors alone; check the result exactly."""
    rng = np.random.default_rng(7)
    weight = scipy.sparse.random(64, 48, density=0.1, format="csr", dtype="f4", random_state=rng)
    x = rng.integers(-8, 8, (48, 3)).astype("f4")  # small integers, so the sums are exact
    weight.data = rng.integers(-8, 8, weight.nnz).astype("f4")
    frame = _operator_frame("spmm-1", weight, x)
    connection = await nats.connect(address)
    try:
        record, tensors = await _run(connection, "spmm-1", frame)
    finally:
        await connection.close()
    exact = bool(np.array_equal(tensors["y"], weight @ x))
    if not exact:
        raise RuntimeError("the result of spmm_csr differs from scipy's")
    findings.operator_job = (
        f"An spmm_csr job ({weight.shape[0]} x {weight.shape[1]}, {weight.nnz} non-zeros), "
        f"published with nats-py and safetensors, ran on {record['worker']}; its result equals "
        "scipy's product exactly."
    )
    story.tell(findings.operator_job)


async def kill_test(
    address: str, victims: Callable[[], list[int]], findings: Findings, story: Story
) -> None:
    """Publish 200 jobs, kill a CPU worker with SIGKILL among them, count what comes back."""
    connection = await nats.connect(address)
    try:
        findings.kill = await _kill_test(connection, victims, story)
    finally:
        await connection.close()
    kill = findings.kill
    if kill.results != JOBS or kill.repeated:
        raise RuntimeError(f"{kill.results} of {JOBS} results, {kill.repeated} repeated")
    story.tell(
        f"{kill.results} of {kill.jobs} results, each once, {kill.seconds:.1f} s; "
        f"{kill.second_attempts} jobs ran a second time"
    )


async def _kill_test(connection: Nats, victims: Callable[[], list[int]], story: Story) -> KillTest:
    run = uuid.uuid4().hex[:8]
    announced: Counter[str] = Counter()
    enough, complete = anyio.Event(), anyio.Event()

    async def on_done(message: object) -> None:
        announced[message.subject] += 1  # type: ignore[attr-defined]
        if len(announced) >= KILL_AFTER:
            enough.set()
        if len(announced) >= JOBS:
            complete.set()

    await connection.subscribe(f"el.v1.done.{TENANT}.*", cb=on_done)
    started, started_at = time.monotonic(), time.time()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_publish_all, connection, run)
            await enough.wait()
            victim = victims()[0]
            os.kill(victim, signal.SIGKILL)
            killed_at = time.monotonic() - started
            story.tell(f"{len(announced)} results are in; killed CPU worker, pid {victim}, with -9")
            await complete.wait()
    seconds = time.monotonic() - started
    records = [await _record(connection, f"{run}-{index}") for index in range(JOBS)]
    return KillTest(
        jobs=JOBS,
        results=sum(record["status"] == "succeeded" for record in records),
        repeated=sum(announced.values()) - len(announced),
        second_attempts=sum(record["attempt"] > 1 for record in records),
        victim=f"pid {victim}",
        killed_at=killed_at,
        seconds=seconds,
        spans=tuple(_span(record, started_at) for record in records),
    )


async def _publish_all(connection: Nats, run: str) -> None:
    stream = connection.jetstream()
    rng = np.random.default_rng(0)
    tensors = {"x": rng.random((16, 256), np.float32), "weight": rng.random((128, 256), np.float32)}
    async with anyio.create_task_group() as tasks:
        slots = anyio.CapacityLimiter(16)
        for index in range(JOBS):
            job = f"{run}-{index}"
            body = {"kind": "operator", "operator": "gemm_f32", "repeat": 100}
            frame = safetensors.save(tensors, metadata={"message": _message(job, body)})
            tasks.start_soon(_publish, stream.publish, slots, job, frame)


async def _publish(
    publish: Callable[..., Awaitable[object]], slots: anyio.CapacityLimiter, job: str, frame: bytes
) -> None:
    async with slots:
        headers = {"Nats-Msg-Id": f"{TENANT}.{job}"}
        await publish(f"el.v1.job.{TENANT}.operator", frame, headers=headers, timeout=10)


async def _run(connection: Nats, job: str, frame: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """Publish one job and wait for the announcement that its record is stored."""
    announcement = await connection.subscribe(f"el.v1.done.{TENANT}.{job}")
    await connection.jetstream().publish(
        f"el.v1.job.{TENANT}.operator", frame, headers={"Nats-Msg-Id": f"{TENANT}.{job}"}
    )
    await announcement.next_msg(timeout=PATIENCE)
    stored = await _stored(connection, job)
    return json.loads(_metadata(stored)["message"]), safetensors.load(stored)


async def _record(connection: Nats, job: str) -> dict:
    return json.loads(_metadata(await _stored(connection, job))["message"])


async def _stored(connection: Nats, job: str) -> bytes:
    subject = f"el.v1.res.{TENANT}.{job}"
    found = await connection.jetstream().get_last_msg("EL_RES", subject, direct=True)
    return found.data or b""


def _operator_frame(job: str, weight: scipy.sparse.csr_array, x: np.ndarray) -> bytes:
    tensors = {
        "weight.indptr": weight.indptr.astype("i4"),
        "weight.indices": weight.indices.astype("i4"),
        "weight.values": weight.data,
        "x": x,
    }
    layouts = {"weight": {"layout": "csr", "shape": list(weight.shape)}}
    body = {"kind": "operator", "operator": "spmm_csr"}
    metadata = {"message": _message(job, body), "layouts": json.dumps(layouts)}
    return safetensors.save(tensors, metadata=metadata)


def _message(job: str, body: dict[str, object]) -> str:
    return json.dumps({"type": "jobs.submitted.v1", "job": job, "tenant": TENANT, "body": body})


def _metadata(frame: bytes) -> dict[str, str]:
    """Metadata of a safetensors file: JSON after eight bytes of length."""
    size = int.from_bytes(frame[:8], "little")
    return json.loads(frame[8 : 8 + size])["__metadata__"]


def _span(record: dict, started_at: float) -> JobSpan:
    timing = record["timing"]
    start = timing["started_at"] - started_at
    parts = ("fetch", "upload", "run", "download")
    return JobSpan(
        job=record["job"],
        worker=record["worker"],
        start=start,
        end=start + sum(timing.get(part, 0.0) for part in parts),
        attempt=record["attempt"],
    )
