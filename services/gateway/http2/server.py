"""The HTTP/2 front: the same doors as the gRPC library's, opened faster."""

import asyncio
import contextlib
from contextlib import AsyncExitStack
from typing import Final

from grpc_health.v1 import health_pb2

from services.gateway.app import App
from services.gateway.front import Methods
from services.gateway.http2 import health, reflection
from services.gateway.http2.connection import Connection
from services.gateway.http2.exchange import Endpoint, Floor
from services.gateway.http2.health import Health
from services.gateway.http2.reflection import Reflection
from services.gateway.limits import Limits
from shared.contracts import wire
from shared.contracts.errors import AddressTaken, BusUnavailable

BACKLOG: Final = 1024  # connections that wait to be accepted
OURS: Final = (wire.INFERENCE, wire.JOBS)


class Server:
    """An HTTP/2 server before an App. `port` is known after `start`."""

    def __init__(self, app: App, limits: Limits, *, listen: str) -> None:
        self._app, self._limits, self._listen = app, limits, listen
        self._health = Health(("", *OURS))
        self._connections: set[Connection] = set()
        self._stack = AsyncExitStack()  # holds the calls
        self._floor: Floor | None = None
        self._listener: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen.

        Raises:
            AddressTaken: the address is taken, or not ours.
        """
        host, _, port = self._listen.rpartition(":")
        group = await self._stack.enter_async_context(asyncio.TaskGroup())
        loop = asyncio.get_running_loop()
        floor = Floor(self._endpoints(), self._limits, loop, group, self._app.refused)
        try:
            self._listener = await loop.create_server(
                lambda: Connection(floor, self._connections),
                host.strip("[]") or None,
                int(port),
                backlog=BACKLOG,
            )
        except (OSError, ValueError, OverflowError):
            await self._stack.aclose()
            raise AddressTaken(f"cannot listen on {self._listen}") from None
        self._floor = floor
        self.port = self._listener.sockets[0].getsockname()[1]

    async def show(self, *, serving: bool) -> None:
        """Tell health watchers whether calls are welcome."""
        self._health.show(serving=serving)

    async def stop(self) -> None:
        """Say so to health watchers, take no more calls, let open ones end."""
        listener, self._listener = self._listener, None
        if listener is None or self._floor is None:
            return
        self._health.leave()
        listener.close()
        for connection in tuple(self._connections):
            connection.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.drain):
                while self._floor.open:
                    await self._floor.idle.wait()
        for connection in tuple(self._connections):
            connection.abandon(BusUnavailable("the gateway is leaving"))
        await self._stack.aclose()
        for connection in tuple(self._connections):
            await connection.lost.wait()  # comes: a peer that does not read is cut off

    def _endpoints(self) -> dict[str, Endpoint]:
        rpcs = [rpc for name in OURS for rpc in wire.rpcs(name).values()]
        streaming = {rpc.path for rpc in rpcs if rpc.client_streaming}
        methods = self._app.methods
        unary = {path: Endpoint(unary=self._app.unary) for path in methods.unary}
        streams = {
            path: Endpoint(stream=self._app.stream, client_streams=path in streaming)
            for path in methods.streams
        }
        return unary | streams | _beside(self._health.methods | self._reflection().methods)

    def _reflection(self) -> Reflection:
        files = [wire.POOL.FindServiceByName(name).file for name in OURS]
        described = [file.serialized_pb for file in (*files, health_pb2.DESCRIPTOR)]
        return Reflection((*OURS, health.NAME), described)


def _beside(methods: Methods) -> dict[str, Endpoint]:
    """What is served beside the app: it is neither admitted nor counted."""
    unary = {path: Endpoint(unary=method) for path, method in methods.unary.items()}
    asking = {f"/{name}/{reflection.METHOD}" for name in reflection.NAMES}
    streams = {
        path: Endpoint(stream=method, client_streams=path in asking)
        for path, method in methods.streams.items()
    }
    return unary | streams
