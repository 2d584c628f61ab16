"""A gateway in this process: in-memory bus, real gRPC on loopback, workers made of numpy.

Tests that are marked with `usefixtures("front")` run once with each front end.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio
import grpc
import numpy as np
import pytest
from google.protobuf.message import Message

from services.gateway import grpc_server
from services.gateway.assembly import Gateway, assemble
from services.gateway.http2 import server as http2_server
from services.gateway.limits import Limits
from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus, Inbound, Subscription
from shared.client.client import Client
from shared.contracts import packed, subjects, wire
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import BlobRef
from shared.contracts.v1.models import ModelManifest, PortSignature, Route, RouteChoice, Variant
from shared.contracts.v1.workers import Heartbeat, WorkerCard

DENSE, INT8 = "a" * 64, "b" * 64  # artifacts
WEIGHT = np.array([[1, 0, 0, 1], [0, 2, 0, 0], [0, 0, 3, 0]], np.float32)  # (3, 4): y = x Wᵀ
Server = grpc_server.Server | http2_server.Server
FRONTS: dict[str, type[Server]] = {
    "http2": http2_server.Server,
    "grpcio": grpc_server.Server,
}
front_of_test = FRONTS["http2"]  # the fixture `front` puts each in its place
INFER = f"/{wire.INFERENCE}/ModelInfer"


def manifest(name: str = "digits", **changes: object) -> ModelManifest:
    """x (batch, 4) f32 -> y (batch, 3) f32 and top (batch,) i64, in two variants."""
    variants = tuple(
        Variant(name=word, artifact=BlobRef(sha256=sha, size=1), weight_bytes=48, method=word)
        for word, sha in (("dense", DENSE), ("int8", INT8))
    )
    whole = ModelManifest(
        model=name,
        inputs=(PortSignature(name="x", dtype="f32", shape=(-1, 4)),),
        outputs=(
            PortSignature(name="y", dtype="f32", shape=(-1, 3)),
            PortSignature(name="top", dtype="i64", shape=(-1,)),
        ),
        variants=variants,
    )
    return whole.model_copy(update=changes)


def route(name: str, *classes: str) -> Route:
    """Both variants on the classes in this order."""
    choices = tuple(
        RouteChoice(
            worker_class=each, seconds=1e-3, seconds_per_row=1e-4, measured=False, reason="test"
        )
        for each in classes
    )
    return Route(model=name, choices={"dense": choices, "int8": choices})


@dataclass(eq=False)
class FakeWorker:
    """Answers packed calls with numpy; every way to misbehave is a field."""

    bus: Bus
    name: str
    worker_class: str = "cpu"
    artifacts: tuple[str, ...] = (DENSE, INT8)
    refuse: str = ""  # a code to answer with
    garbage: bytes | None = None  # to answer with instead
    open: asyncio.Event = field(default_factory=asyncio.Event)  # replies leave while it is set
    messages: list[list[packed.Call]] = field(default_factory=list)
    _subscriptions: list[Subscription] = field(default_factory=list)

    async def start(self, group: anyio.abc.TaskGroup) -> None:
        """Listen, show the card, send heartbeats."""
        self.open.set()

        def receive(message: Inbound) -> None:
            group.start_soon(self._answer, message)

        own, shared = (
            subjects.interactive_worker(self.name),
            subjects.interactive(self.worker_class),
        )
        self._subscriptions = [
            await self.bus.subscribe(own, receive),
            await self.bus.subscribe(shared, receive, queue=self.worker_class),
        ]
        await self.show()

    async def show(self, **changes: object) -> None:
        """Put the card and send one heartbeat."""
        card = WorkerCard(
            worker=self.name,
            worker_class=self.worker_class,
            service="fake",
            pid=1,
            artifacts=self.artifacts,
        ).model_copy(update=changes)
        await self.bus.put(Bucket.WORKERS, self.name, card.encode())
        beat = Heartbeat(worker=self.name, worker_class=self.worker_class, slots=1, free=1)
        await self.bus.publish(subjects.heartbeat(self.name), beat.encode())

    async def die(self) -> None:
        """Stop listening, as a killed process does."""
        for subscription in self._subscriptions:
            await subscription.stop()

    async def _answer(self, message: Inbound) -> None:
        calls = list(packed.calls(message.data))
        self.messages.append([call for call, _body in calls])
        await self.open.wait()
        reply = b"".join(self._item(call, body) for call, body in calls)
        if self.garbage is not None:
            reply = self.garbage
        await self.bus.publish(message.reply, reply)

    def _item(self, call: packed.Call, body: memoryview) -> bytes:
        if self.refuse:
            return packed.item(
                packed.Answer(self.refuse, "refused by the fake", worker=self.name), []
            )
        x = np.frombuffer(body, np.float32).reshape(call.inputs[0].shape)
        y = np.ascontiguousarray(x @ WEIGHT.T)
        made = {"y": ("f32", y), "top": ("i64", y.argmax(axis=1))}
        wanted = call.outputs or tuple(made)
        heads = tuple(packed.Head(name, made[name][0], made[name][1].shape) for name in wanted)
        answer = packed.Answer(outputs=heads, batch=len(x), queued=1e-4, run=2e-4, worker=self.name)
        return packed.item(answer, [made[name][1].tobytes() for name in wanted])


@dataclass(eq=False)
class House:
    """What a test holds of a running gateway."""

    bus: Bus
    gateway: Gateway
    server: Server
    group: anyio.abc.TaskGroup
    client: Client
    channel: grpc.aio.Channel
    workers: dict[str, FakeWorker] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where gRPC clients connect."""
        return f"127.0.0.1:{self.server.port}"

    async def hire(self, name: str, worker_class: str = "cpu", **options: object) -> FakeWorker:
        """Start a worker and wait until the gateway has seen it."""
        worker = self.workers[name] = FakeWorker(self.bus, name, worker_class, **options)  # type: ignore[arg-type]  # fields of FakeWorker
        await worker.start(self.group)
        await self.until(lambda: name in self.gateway.tables.table.cards)
        return worker

    async def put(self, model: ModelManifest, *classes: str) -> None:
        """Store a model with a route and wait until the gateway has seen both."""
        await self.bus.put(Bucket.MODELS, model.model, model.encode())
        await self.bus.put(
            Bucket.ROUTES, f"model.{model.model}", route(model.model, *classes).encode()
        )
        table = self.gateway.tables.table
        await self.until(
            lambda: model.model in table.routes and table.models.get(model.model) == model
        )

    async def until(self, condition: object) -> None:
        """Wait until the gateway's table fulfils a condition."""
        with anyio.fail_after(5):
            await self.gateway.tables.wait_for(condition)  # type: ignore[arg-type]  # a predicate

    async def raw(self, method: str, data: bytes, **options: object) -> bytes:
        """One unary call, bytes to bytes."""
        call = self.channel.unary_unary(method)
        return await call(data, **options)  # type: ignore[no-any-return]

    async def infer(self, request: Message, **options: object) -> wire.inference.ModelInferResponse:
        """One ModelInfer."""
        data = await self.raw(INFER, request.SerializeToString(), **options)
        return wire.inference.ModelInferResponse.FromString(data)

    async def ask(self, method: str, /, **fields: object) -> Message:
        """One call of the inference protocol by its name."""
        rpc = wire.rpcs(wire.INFERENCE)[method]
        data = await self.raw(rpc.path, rpc.request(**fields).SerializeToString())
        answer: Message = rpc.response.FromString(data)
        return answer


@asynccontextmanager
async def opened(
    memory: MemoryBroker | Bus,
    *,
    limits: Limits | None = None,
    workers: Iterable[str] = ("cpu-1",),
    silent: float = 60.0,
) -> AsyncIterator[House]:
    """A gateway that serves `digits` with workers of class cpu.

    `silent`: seconds without a heartbeat until one counts as gone; they beat once, and a machine
    that others use may stand still for a while.
    """
    bus = memory.connect("gateway-1") if isinstance(memory, MemoryBroker) else memory
    bounds = replace(limits or Limits(), silent=silent)
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(anyio.create_task_group())
        stack.callback(group.cancel_scope.cancel)
        gateway = await stack.enter_async_context(assemble(bus, bounds))
        server = front_of_test(gateway.app, bounds, listen="127.0.0.1:0")
        await server.start()
        stack.push_async_callback(server.stop)
        await server.show(serving=True)
        address = f"127.0.0.1:{server.port}"
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        client = await stack.enter_async_context(Client(address, timeout=10.0))
        house = House(bus, gateway, server, group, client, channel)
        await house.put(manifest(), "cpu")
        for name in workers:
            await house.hire(name)
        yield house


def request(
    x: np.ndarray | None = None, *, model: str = "digits", typed: bool = False, **fields: object
) -> wire.inference.ModelInferRequest:
    """A request for `digits`; one row of ones unless told otherwise."""
    held = np.ones((1, 4), np.float32) if x is None else x
    message = wire.inference.ModelInferRequest(model_name=model, **fields)
    tensor = message.inputs.add(name="x", datatype="FP32", shape=held.shape)
    if typed:
        tensor.contents.fp32_contents.extend(held.ravel().tolist())
    else:
        message.raw_input_contents.append(held.tobytes())
    return message


def y_of(reply: wire.inference.ModelInferResponse) -> np.ndarray:
    names = [output.name for output in reply.outputs]
    raw = reply.raw_output_contents[names.index("y")]
    return np.frombuffer(raw, np.float32).reshape(-1, 3)


async def refused(house: House, message: Message | bytes) -> grpc.aio.AioRpcError:
    data = message if isinstance(message, bytes) else message.SerializeToString()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await house.raw(INFER, data)
    return caught.value


def trailing(error: grpc.aio.AioRpcError) -> dict[str, str]:
    return dict(error.trailing_metadata())
