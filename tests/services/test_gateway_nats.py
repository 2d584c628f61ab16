"""The gateway on a real broker: the same answers as in memory."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from ops.stack.broker import Broker
from shared.bus import jetstream
from shared.chassis.settings import BusSettings
from shared.contracts.v1.jobs import JobEvent, JobFinished, OperatorBody, Status
from shared.tensors import layouts
from tests.services.gateway_house import opened

pytestmark = pytest.mark.nats
X = np.array([[1, 2, 3, 4]], np.float32)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of this module's own: workers and models of other tests are not on it."""
    with Broker(tmp_path_factory.mktemp("gateway")) as broker:
        yield broker.url


def settings(url: str) -> BusSettings:
    return BusSettings(nats_url=url, service="gateway")


async def test_inference_and_the_death_of_a_worker(url: str) -> None:
    async with (
        jetstream.connect(settings(url)) as bus,
        opened(bus, workers=("cpu-1", "cpu-2")) as house,
    ):
        first = await house.client.infer("digits", {"x": X})
        used = next(worker for worker in house.workers.values() if worker.messages)
        await used.die()
        rest = await asyncio.gather(*(house.client.infer("digits", {"x": X}) for _ in range(20)))

    assert first["y"].tolist() == [[5, 4, 9]]
    assert [each["y"].tolist() for each in rest] == [[[5, 4, 9]]] * 20


async def test_jobs_are_accepted_once_watched_and_cancelled(url: str) -> None:
    body, tensors = OperatorBody(operator="relu"), {"x": layouts.dense(X)}

    async with jetstream.connect(settings(url)) as bus, opened(bus) as house:
        receipts = [await house.client.submit(body, tensors, job_id="twice") for _ in range(2)]
        seen: list[JobEvent | JobFinished] = []
        async for item in house.client.watch("twice"):
            seen.append(item)
            if len(seen) == 1:
                await house.client.cancel("twice")
        record, _tensors = await house.client.result("twice")

    assert [receipt.duplicate for receipt in receipts] == [False, True]
    assert isinstance(seen[0], JobEvent)
    assert seen[0].what == "accepted"
    assert seen[-1] == record
    assert record.status is Status.CANCELLED


async def test_blobs_of_several_parts_come_back(url: str) -> None:
    content = np.random.default_rng(5).bytes(9 * 2**20)

    async with jetstream.connect(settings(url)) as bus, opened(bus, workers=()) as house:
        ref = await house.client.upload(content)
        back = await house.client.download(ref)

    assert back == content
