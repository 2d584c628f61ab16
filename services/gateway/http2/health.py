"""grpc.health.v1 as methods of bytes: whether the server and each of its services take calls."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Final

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from services.gateway.app import Refused
from services.gateway.faults import Fault, Status
from services.gateway.front import Call, Methods
from shared.contracts import wire

NAME: Final = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_Status = health_pb2.HealthCheckResponse


class Health:
    """What is said about each name; watchers hear of every change."""

    def __init__(self, names: Iterable[str]) -> None:
        self._statuses = dict.fromkeys(names, _Status.NOT_SERVING)
        self._changed = asyncio.Event()  # replaced at every change
        self._leaving = False

    @property
    def methods(self) -> Methods:
        """The table of the service."""
        unary = {f"/{NAME}/Check": self.check, f"/{NAME}/List": self.list}
        return Methods(unary, {f"/{NAME}/Watch": self.watch})

    def show(self, *, serving: bool) -> None:
        """Say of every name whether calls are welcome; after `leave`, they are not."""
        status = _Status.SERVING if serving and not self._leaving else _Status.NOT_SERVING
        self._statuses = dict.fromkeys(self._statuses, status)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def leave(self) -> None:
        """Say that calls are not welcome, for good; watchers are told, and then let go."""
        self._leaving = True
        self.show(serving=False)

    async def check(self, _call: Call, data: bytes) -> bytes:
        """One status.

        Raises:
            Refused: NOT_FOUND, as the protocol says, when the name is not known.
        """
        name = wire.parse(health_pb2.HealthCheckRequest, data).service
        if name not in self._statuses:
            raise Refused(Fault(Status.NOT_FOUND, "", f"no service {name[:200]!r} here", ()))
        return _bytes(_Status(status=self._statuses[name]))

    async def list(self, _call: Call, data: bytes) -> bytes:
        """Every status."""
        wire.parse(health_pb2.HealthListRequest, data)
        statuses = {name: _Status(status=status) for name, status in self._statuses.items()}
        return _bytes(health_pb2.HealthListResponse(statuses=statuses))

    async def watch(self, _call: Call, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """The status of a name, now and at every change.

        Raises:
            Refused: UNAVAILABLE, after the last change.
        """
        name = wire.parse(health_pb2.HealthCheckRequest, await anext(requests)).service
        said = None
        while True:
            changed = self._changed
            status = self._statuses.get(name, _Status.SERVICE_UNKNOWN)
            if status != said:
                said = status
                yield _bytes(_Status(status=status))
            elif self._leaving:
                raise Refused(Fault(Status.UNAVAILABLE, "", "the gateway is leaving", ()))
            else:
                await changed.wait()


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()
