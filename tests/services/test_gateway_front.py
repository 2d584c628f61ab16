"""Around the calls: health, reflection, unserved methods, metrics, leaving in order."""

import asyncio
import urllib.error
import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import CollectorRegistry

from services.gateway import telemetry
from services.gateway.faults import STATUS, Status
from services.gateway.limits import Limits
from shared.bus.memory import MemoryBroker
from shared.contracts import wire
from shared.contracts.errors import AddressTaken, Kind
from tests.services.gateway_house import House, opened, request
from tests.services.waiting import until

pytestmark = pytest.mark.usefixtures("front")

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = ["", "inference.GRPCInferenceService", "ellesmere.v1.Jobs"]


def health(house: House) -> health_pb2_grpc.HealthStub:
    return health_pb2_grpc.HealthStub(house.channel)


@pytest.mark.parametrize("name", NAMES)
async def test_health_knows_the_server_and_each_service(memory: MemoryBroker, name: str) -> None:
    async with opened(memory) as house:
        answer = await health(house).Check(health_pb2.HealthCheckRequest(service=name))

    assert answer.status == SERVING


async def test_health_of_an_unknown_service_is_not_found(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health(house).Check(health_pb2.HealthCheckRequest(service="other"))

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_watchers_of_health_hear_of_the_leaving_before_calls_end(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        watch = health(house).Watch(health_pb2.HealthCheckRequest(service=NAMES[1]))
        before = await watch.read()
        worker = house.workers["cpu-1"]
        worker.open.clear()
        pending = asyncio.ensure_future(house.infer(request()))
        await until(lambda: worker.messages)
        leaving = asyncio.ensure_future(house.server.stop())
        after = await watch.read()
        watch.cancel()
        worker.open.set()
        reply = await pending
        await leaving

    assert (before.status, after.status) == (SERVING, NOT_SERVING)
    assert reply.model_name == "digits"


async def test_reflection_lists_and_describes_our_services(memory: MemoryBroker) -> None:
    ask = reflection_pb2.ServerReflectionRequest
    asked = [ask(list_services=""), ask(file_containing_symbol=wire.JOBS)]

    async with opened(memory) as house:
        stub = reflection_pb2_grpc.ServerReflectionStub(house.channel)
        answers = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]

    listed = {service.name for service in answers[0].list_services_response.service}
    assert {*NAMES[1:], "grpc.health.v1.Health"} <= listed
    (file,) = answers[1].file_descriptor_response.file_descriptor_proto
    assert b"ellesmere.v1" in file


@pytest.mark.parametrize(
    "path",
    [
        "/inference.GRPCInferenceService/TraceSetting",
        "/inference.GRPCInferenceService/SystemSharedMemoryStatus",
        "/inference.GRPCInferenceService/Nothing",
        "/other.Service/Call",
    ],
)
async def test_what_is_not_served_is_unimplemented(memory: MemoryBroker, path: str) -> None:
    async with opened(memory) as house:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await house.raw(path, b"")

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_every_method_of_our_services_is_served(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        methods = house.gateway.app.methods

    paths = {r.path for name in NAMES[1:] for r in wire.rpcs(name).values()}
    assert methods.paths == paths


def test_every_kind_of_error_has_a_status_of_grpc() -> None:
    codes = {code.name: code.value[0] for code in grpc.StatusCode}

    assert STATUS.keys() == set(Kind)
    assert {status.name: status.value for status in Status}.items() <= codes.items()


async def test_tenant_that_is_no_token_is_refused(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await house.infer(request(), metadata=(("ellesmere-tenant", "a.b"),))

    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_metadata_over_its_limit_is_refused_and_the_connection_lives(
    memory: MemoryBroker,
) -> None:
    async with opened(memory) as house:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await house.infer(request(), metadata=(("x-large", "x" * 2**17),))
        reply = await house.infer(request())

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reply.model_name == "digits"


async def test_taken_address_is_said_in_one_sentence(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        second = type(house.server)(house.gateway.app, Limits(), listen=house.address)
        with pytest.raises(AddressTaken, match=house.address):
            await second.start()


async def fetch(port: int, path: str) -> tuple[int, str]:
    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(get)


async def test_metrics_count_calls_by_method_and_code(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        await house.infer(request())
        with pytest.raises(grpc.aio.AioRpcError):
            await house.infer(request(model="none"))
        with telemetry.serve("127.0.0.1:0", house.gateway.metrics.registry, lambda: True) as port:
            status, text = await fetch(port, "/metrics")

    path = "/inference.GRPCInferenceService/ModelInfer"
    assert status == 200
    assert f'ellesmere_gateway_calls_total{{code="OK",method="{path}"}} 1.0' in text
    assert f'ellesmere_gateway_calls_total{{code="EL-1201",method="{path}"}} 1.0' in text
    assert "ellesmere_gateway_decision_seconds_count 1.0" in text


async def test_readiness_over_http_follows_the_tables(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        tables = house.gateway.tables
        with telemetry.serve(
            "127.0.0.1:0", house.gateway.metrics.registry, tables.is_ready
        ) as port:
            ready = await fetch(port, "/readyz")
            tables.ready = False
            seen = [await fetch(port, path) for path in ("/readyz", "/healthz", "/else")]

    assert ready[0] == 200
    assert [status for status, _text in seen] == [503, 200, 404]


def test_taken_address_of_metrics_is_said_in_one_sentence() -> None:
    nothing = CollectorRegistry()

    with (
        telemetry.serve("127.0.0.1:0", nothing, lambda: True) as port,
        pytest.raises(AddressTaken, match=str(port)),
        telemetry.serve(f"127.0.0.1:{port}", nothing, lambda: True),
    ):
        pass
