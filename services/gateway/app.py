"""The edge: every call is admitted, counted, and ends in bytes or in a fault."""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import structlog

from services.gateway import faults
from services.gateway.admission import Admission
from services.gateway.faults import Fault
from services.gateway.front import Call, Methods
from services.gateway.limits import Limits
from services.gateway.metrics import Metrics
from shared.contracts.errors import SuiteError, TooLarge

OK = "OK"
log = structlog.get_logger()


class Refused(Exception):
    """A call ended in a fault; the transport says it in its own words."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault.details)


class App:
    """All methods behind one edge. Nothing here knows what carries the bytes."""

    def __init__(
        self, methods: Methods, admission: Admission, metrics: Metrics, limits: Limits
    ) -> None:
        self.methods = methods
        self._admission, self._metrics, self._limits = admission, metrics, limits
        self._ok = {path: metrics.calls.labels(path, OK) for path in methods.paths}
        self._seconds = {path: metrics.seconds.of(path) for path in methods.unary}

    async def unary(self, call: Call, data: bytes) -> bytes:
        """Answer one request.

        Raises:
            Refused: with what the caller is to see.
        """
        began = time.perf_counter()
        try:
            self._require_size(data)
            with self._admission.call(call.tenant, len(data)):
                answer = await self.methods.unary[call.method](call, data)
        except SuiteError as error:
            raise self.refused(call.method, error) from None
        except Exception as error:  # the edge reports what it cannot name, and says so
            raise self._broken(call, error) from None
        self._ok[call.method].inc()
        self._seconds[call.method].add(time.perf_counter() - began)
        return answer

    async def stream(self, call: Call, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Answer a stream; raises like `unary`."""
        try:
            with self._admission.call(call.tenant, 0, limit=self._limits.watches):
                async with aclosing(self.methods.streams[call.method](call, requests)) as answers:
                    async for answer in answers:
                        yield answer
        except SuiteError as error:
            raise self.refused(call.method, error) from None
        except Exception as error:  # the edge reports what it cannot name, and says so
            raise self._broken(call, error) from None
        self._ok[call.method].inc()

    def refused(self, method: str, error: SuiteError) -> Refused:
        """Count a call that ends in an error; returns what its caller is to see."""
        self._metrics.calls.labels(method, error.code).inc()
        return Refused(faults.of(error))

    def _require_size(self, data: bytes) -> None:
        most = self._limits.message
        if len(data) > most:
            raise TooLarge(f"a message of {len(data)} bytes; at most {most} are taken")

    def _broken(self, call: Call, error: Exception) -> Refused:
        fault = faults.unexpected()
        self._metrics.calls.labels(call.method, fault.code).inc()
        log.error("call.broken", method=call.method, exc_info=error)
        return Refused(fault)
