"""One gRPC channel to a gateway; whatever goes wrong on it comes back as a SuiteError."""

import re
from collections.abc import AsyncIterator
from typing import NoReturn, TypeVar

import grpc
from google.protobuf.message import Message

from shared.contracts import errors
from shared.contracts.errors import (
    BusUnavailable,
    DeadlineExceeded,
    JobCancelled,
    SuiteError,
    TooLarge,
)

MESSAGE_BYTES = 64 * 2**20
RAW = (None, None)  # no serializers: bytes in, bytes out
CODE, TENANT = "ellesmere-code", "ellesmere-tenant"
R = TypeVar("R", bound=Message)
_CATALOGUE = errors.catalogue()
_SENTENCE = re.compile(r"\[EL-\d+\] (?P<message>.*); fix: .*", re.DOTALL)


class GatewayUnavailable(BusUnavailable):
    """Nobody answers at the gateway's address."""

    fix = "start it with `ellesmere up`, or name its address in ELLESMERE_ADDRESS"


class Channel:
    """Calls methods by service and name. Opened at once, connected at the first call."""

    def __init__(self, address: str, *, tenant: str | None) -> None:
        self._address = address
        self._metadata = ((TENANT, tenant),) if tenant else ()
        self._channel = grpc.aio.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", MESSAGE_BYTES),
                ("grpc.max_send_message_length", MESSAGE_BYTES),
            ],
        )

    async def close(self) -> None:
        """End the connection; calls in flight are cancelled."""
        await self._channel.close(None)

    async def unary(
        self, service: str, name: str, request: Message, kind: type[R], *, timeout: float
    ) -> R:
        """One request, one answer.

        Raises:
            SuiteError: of the code that the gateway sent.
        """
        call = self._channel.unary_unary(f"/{service}/{name}", *RAW)
        data = request.SerializeToString()
        try:
            return kind.FromString(await call(data, timeout=timeout, metadata=self._metadata))
        except grpc.aio.AioRpcError as error:
            self._fail(error)

    async def down(
        self, service: str, name: str, request: Message, kind: type[R], *, timeout: float | None
    ) -> AsyncIterator[R]:
        """One request, many answers; raises like `unary`."""
        call = self._channel.unary_stream(f"/{service}/{name}", *RAW)
        data = request.SerializeToString()
        try:
            async for answer in call(data, timeout=timeout, metadata=self._metadata):
                yield kind.FromString(answer)
        except grpc.aio.AioRpcError as error:
            self._fail(error)

    async def up(
        self,
        service: str,
        name: str,
        requests: AsyncIterator[bytes],
        kind: type[R],
        *,
        timeout: float,
    ) -> R:
        """Many requests, one answer; raises like `unary`."""
        call = self._channel.stream_unary(f"/{service}/{name}", *RAW)
        try:
            return kind.FromString(await call(requests, timeout=timeout, metadata=self._metadata))
        except grpc.aio.AioRpcError as error:
            self._fail(error)

    def _fail(self, error: grpc.aio.AioRpcError) -> NoReturn:
        raise _named(self._address, error) from None


def _named(address: str, error: grpc.aio.AioRpcError) -> SuiteError:
    """The error of the catalogue that an RPC ended in."""
    details = error.details() or error.code().name
    trailing: dict[str, str | bytes] = dict(error.trailing_metadata())  # type: ignore[arg-type]
    code = trailing.get(CODE)
    if isinstance(code, str):
        match = _SENTENCE.fullmatch(details)
        return _CATALOGUE.get(code, SuiteError)(match["message"] if match else details)
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return GatewayUnavailable(f"no gateway answers at {address}: {details}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"the gateway at {address} did not answer in time")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return TooLarge(details)
        case grpc.StatusCode.CANCELLED:
            return JobCancelled(details)
        case other:
            return SuiteError(f"the gateway at {address} answered {other.name}: {details}")
