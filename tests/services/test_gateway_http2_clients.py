"""The HTTP/2 front before stock clients: what they send by themselves is understood."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from services.gateway.http2 import reflection
from services.gateway.limits import Limits
from shared.bus.memory import MemoryBroker
from shared.contracts.wire import inference
from tests.services.gateway_house import INFER, House, opened, request
from tests.services.waiting import until

Reply = inference.ModelInferResponse
LARGE = np.arange(4 * 60_000, dtype=np.float32).reshape(-1, 4)  # 960 kB


def asked(number: int) -> bytes:
    x = np.full((1, 4), number, np.float32)
    return request(x, id=str(number)).SerializeToString()


async def test_threads_of_a_blocking_client_get_their_own_answers(memory: MemoryBroker) -> None:
    async with opened(memory) as house:

        def call_all() -> list[bytes]:
            with grpc.insecure_channel(house.address) as channel, ThreadPoolExecutor(8) as pool:
                call = channel.unary_unary(INFER)
                return list(pool.map(lambda n: call(asked(n), timeout=10), range(100)))

        answers = [Reply.FromString(data) for data in await asyncio.to_thread(call_all)]

    assert [answer.id for answer in answers] == [str(number) for number in range(100)]
    values = [np.frombuffer(answer.raw_output_contents[0], np.float32)[0] for answer in answers]
    assert values == [2.0 * number for number in range(100)]


@pytest.mark.parametrize("how", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_a_client_may_compress(memory: MemoryBroker, how: grpc.Compression) -> None:
    async with (
        opened(memory) as house,
        grpc.aio.insecure_channel(house.address, compression=how) as channel,
    ):
        call = channel.unary_unary(INFER)
        small = Reply.FromString(await call(asked(1)))
        large = Reply.FromString(await call(request(LARGE).SerializeToString()))

    assert small.id == "1"
    y = np.frombuffer(large.raw_output_contents[0], np.float32).reshape(-1, 3)
    assert np.array_equal(y[:, 1], 2 * LARGE[:, 1])


async def test_large_messages_pass_in_both_directions_at_once(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        sent = [LARGE + index for index in range(12)]
        replies = await asyncio.gather(*(house.infer(request(x)) for x in sent))

    for x, reply in zip(sent, replies, strict=True):
        y = np.frombuffer(reply.raw_output_contents[0], np.float32).reshape(-1, 3)
        assert np.array_equal(y[:, 1], 2 * x[:, 1])


async def test_a_cancelled_call_gives_its_place_back(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        worker, admission = house.workers["cpu-1"], house.gateway.app._admission
        worker.open.clear()
        call = house.channel.unary_unary(INFER)(asked(1))
        await until(lambda: worker.messages)
        call.cancel()
        await until(lambda: not admission.calls)

    assert admission.held == 0


async def test_a_deadline_of_the_client_ends_the_call_here_too(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        house.workers["cpu-1"].open.clear()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await house.channel.unary_unary(INFER)(asked(1), timeout=0.1)
        await until(lambda: not house.gateway.app._admission.calls)

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_health_lists_every_name(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        listed = await house.raw("/grpc.health.v1.Health/List", b"")

    statuses = health_pb2.HealthListResponse.FromString(listed).statuses
    assert set(statuses) == {"", "inference.GRPCInferenceService", "ellesmere.v1.Jobs"}
    assert {answer.status for answer in statuses.values()} == {
        health_pb2.HealthCheckResponse.SERVING
    }


async def test_a_watch_of_health_hears_of_changes_and_does_not_hold_up_the_leaving(
    memory: MemoryBroker,
) -> None:
    kind = health_pb2.HealthCheckResponse
    async with opened(memory) as house:
        stub = health_pb2_grpc.HealthStub(house.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
        first = await watch.read()
        await house.server.show(serving=False)
        second = await watch.read()
        began = time.monotonic()
        stopping = asyncio.ensure_future(house.server.stop())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch.read()
        await stopping
        elapsed = time.monotonic() - began

    assert [first.status, second.status] == [kind.SERVING, kind.NOT_SERVING]
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert elapsed < Limits().drain / 2


async def test_a_watch_of_an_unknown_name_says_so_and_stays(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        watch = health_pb2_grpc.HealthStub(house.channel).Watch(
            health_pb2.HealthCheckRequest(service="other")
        )
        answer = await watch.read()
        ended = watch.done()
        watch.cancel()

    assert answer.status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    assert not ended


@pytest.mark.parametrize("name", reflection.NAMES)
async def test_both_versions_of_reflection_describe_all_that_is_listed(
    memory: MemoryBroker, name: str
) -> None:
    ask = reflection_pb2.ServerReflectionRequest

    async def questions(house: House, asked: list[object]) -> list[object]:
        call = house.channel.stream_stream(f"/{name}/{reflection.METHOD}")
        stream = call(iter([question.SerializeToString() for question in asked]))
        return [reflection_pb2.ServerReflectionResponse.FromString(data) async for data in stream]

    async with opened(memory) as house:
        (listed,) = await questions(house, [ask(list_services="")])
        names = [service.name for service in listed.list_services_response.service]
        described = await questions(house, [ask(file_containing_symbol=each) for each in names])
        (unknown,) = await questions(house, [ask(file_containing_symbol="nothing.Here")])

    assert {*reflection.NAMES, "ellesmere.v1.Jobs", "grpc.health.v1.Health"} <= set(names)
    assert all(answer.file_descriptor_response.file_descriptor_proto for answer in described)
    assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_a_client_waits_by_itself_for_a_free_stream(memory: MemoryBroker) -> None:
    async with opened(memory, limits=replace(Limits(), streams=4)) as house:
        data = [asked(number) for number in range(40)]
        answers = await asyncio.gather(*(house.raw(INFER, each) for each in data))

    assert [Reply.FromString(answer).id for answer in answers] == [str(n) for n in range(40)]
