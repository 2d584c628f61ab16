"""The gRPC front: generic handlers that take and give bytes, health, reflection."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from math import inf
from typing import TypeAlias

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha._async import ReflectionServicer

from services.gateway import faults
from services.gateway.app import App, Refused
from services.gateway.front import Call
from services.gateway.limits import Limits
from shared.contracts import wire
from shared.contracts.errors import AddressTaken

SERVED = ("", wire.INFERENCE, wire.JOBS)
CODES = {status: code for code in grpc.StatusCode for status in [code.value[0]]}
Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


class Server:
    """A gRPC server before an App. `port` is known after `start`."""

    def __init__(self, app: App, limits: Limits, *, listen: str) -> None:
        self._app, self._limits, self._listen = app, limits, listen
        self._health = HealthServicer()
        self._server = grpc.aio.server(options=_options(limits))
        self.port = 0

    async def start(self) -> None:
        """Listen.

        Raises:
            AddressTaken: the address is taken, or not ours.
        """
        self._server.add_generic_rpc_handlers((_Handlers(self._app),))
        health_pb2_grpc.add_HealthServicer_to_server(  # type: ignore[no-untyped-call]  # library
            self._health, self._server
        )
        names = (*SERVED[1:], *_names(health_pb2.DESCRIPTOR), *_names(reflection_pb2.DESCRIPTOR))
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(  # type: ignore[no-untyped-call]  # library
            ReflectionServicer(names, pool=_reflected()),  # type: ignore[no-untyped-call]  # library
            self._server,
        )
        try:
            self.port = self._server.add_insecure_port(self._listen)
        except RuntimeError:
            raise AddressTaken(f"cannot listen on {self._listen}") from None
        await self.show(serving=False)
        await self._server.start()

    async def show(self, *, serving: bool) -> None:
        """Tell health watchers whether calls are welcome."""
        status = health_pb2.HealthCheckResponse
        for name in SERVED:
            await self._health.set(name, status.SERVING if serving else status.NOT_SERVING)

    async def stop(self) -> None:
        """Say so to health watchers, take no more calls, let open ones end."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._limits.drain)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # not generic at run time
    """Finds the handler of a path; an unknown path is UNIMPLEMENTED by the library."""

    def __init__(self, app: App) -> None:
        rpcs = [*wire.rpcs(wire.INFERENCE).values(), *wire.rpcs(wire.JOBS).values()]
        served = app.methods.paths
        self._by_path = {rpc.path: _handler(app, rpc) for rpc in rpcs if rpc.path in served}

    def service(
        self, details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        return self._by_path.get(details.method)


def _handler(app: App, rpc: wire.Rpc) -> "grpc.RpcMethodHandler[bytes, bytes]":
    match rpc.client_streaming, rpc.server_streaming:
        case False, False:
            return grpc.unary_unary_rpc_method_handler(_unary(app, rpc.path))
        case False, True:
            return grpc.unary_stream_rpc_method_handler(_down(app, rpc.path))
        case True, False:
            return grpc.stream_unary_rpc_method_handler(_up(app, rpc.path))
        case _:
            return grpc.stream_stream_rpc_method_handler(_both(app, rpc.path))


def _unary(app: App, path: str) -> Callable[[bytes, Context], Awaitable[bytes]]:
    async def handle(data: bytes, context: Context) -> bytes:
        try:
            return await app.unary(_call(path, context), data)
        except Refused as refused:
            return await _abort(context, refused.fault)

    return handle


def _down(app: App, path: str) -> Callable[[bytes, Context], Awaitable[None]]:
    async def handle(data: bytes, context: Context) -> None:
        await _stream(app, path, _once(data), context)

    return handle


def _both(app: App, path: str) -> Callable[[AsyncIterator[bytes], Context], Awaitable[None]]:
    async def handle(requests: AsyncIterator[bytes], context: Context) -> None:
        await _stream(app, path, requests, context)

    return handle


def _up(app: App, path: str) -> Callable[[AsyncIterator[bytes], Context], Awaitable[bytes]]:
    async def handle(requests: AsyncIterator[bytes], context: Context) -> bytes:
        try:
            async with aclosing(app.stream(_call(path, context), requests)) as answers:
                return await anext(answers)
        except Refused as refused:
            return await _abort(context, refused.fault)

    return handle


async def _stream(app: App, path: str, requests: AsyncIterator[bytes], context: Context) -> None:
    """Write every answer; when the caller leaves, everything behind is closed at once."""
    try:
        async with aclosing(app.stream(_call(path, context), requests)) as answers:
            async for answer in answers:
                await context.write(answer)
    except Refused as refused:
        await _abort(context, refused.fault)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _call(path: str, context: Context) -> Call:
    left = context.time_remaining()
    now = asyncio.get_running_loop().time()
    pairs = context.invocation_metadata() or ()
    metadata = {key: value for key, value in pairs if isinstance(value, str)}
    return Call(path, metadata, inf if left is None else now + left)


async def _abort(context: Context, fault: faults.Fault) -> bytes:
    await context.abort(CODES[fault.status], fault.details, fault.trailing)
    raise AssertionError("abort returned")


def _reflected() -> descriptor_pool.DescriptorPool:
    """Our files and those of the services beside them, in one pool."""
    pool = descriptor_pool.DescriptorPool()
    ours = [wire.POOL.FindServiceByName(name).file for name in (wire.INFERENCE, wire.JOBS)]
    for file in (*ours, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        pool.AddSerializedFile(file.serialized_pb)
    return pool


def _names(file: FileDescriptor) -> list[str]:
    return [service.full_name for service in file.services_by_name.values()]


def _options(limits: Limits) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", limits.wire),
        ("grpc.max_send_message_length", limits.wire),
        ("grpc.max_metadata_size", limits.metadata),
        ("grpc.absolute_max_metadata_size", 2 * limits.metadata),
        ("grpc.so_reuseport", 0),
    ]
