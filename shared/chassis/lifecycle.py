"""The shell of a service process: event loop, bus, signals, exit code.

`serve(bus, settings)` runs until it is cancelled. The first SIGTERM or SIGINT cancels it: whatever
must be finished then (jobs in hand, open calls) is finished in a shielded scope of at most
`settings.grace` seconds, while the bus stays up. A second signal ends the process on the spot.
"""

import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import anyio
import structlog

from shared.bus import jetstream
from shared.bus.port import Bus
from shared.chassis import telemetry
from shared.chassis.settings import BusSettings
from shared.contracts.errors import BusUnavailable, SuiteError

OK, CRASHED, UNAVAILABLE = 0, 1, 3
MARGIN = 5.0  # [s] after the grace before the process is ended by force
CLOSED_GRACE = 2.0  # [s] for cleaning up when the bus is gone for good
S = TypeVar("S", bound=BusSettings)
Serve = Callable[[Bus, S], Awaitable[None]]
log = structlog.get_logger()


@dataclass(slots=True)
class Stop:
    """What the first signal cancels: the whole start-up, and then `serve` alone."""

    scope: anyio.CancelScope
    asked: bool = False


def run(name: str, serve: Serve[S], settings: S) -> NoReturn:
    """Run a service to its end and leave with its exit code: 0 stopped, 1 crashed, 3 no bus."""
    named = settings.of(name)
    telemetry.configure(name, worker=named.name, level=named.log_level)
    gc.freeze()  # what was imported stays: no collection need walk it again
    sys.exit(anyio.run(_main, serve, named, backend_options={"use_uvloop": True}))


async def _main(serve: Serve[S], settings: S) -> int:
    code = OK
    async with anyio.create_task_group() as group:
        stop = Stop(group.cancel_scope)
        group.start_soon(_obey, stop, settings.grace)
        code = await _connected(serve, settings, stop)
        group.cancel_scope.cancel()
    return code


async def _connected(serve: Serve[S], settings: S, stop: Stop) -> int:
    try:
        async with jetstream.connect(settings) as bus:
            return await supervise(bus, serve, settings, stop)
    except BusUnavailable as error:
        log.error("bus.unreachable", url=settings.url, reason=str(error), fix=error.fix)
        return UNAVAILABLE


async def supervise(bus: Bus, serve: Serve[S], settings: S, stop: Stop) -> int:
    """Run `serve` until it ends, `stop` is asked for, or the bus is closed for good."""
    code = OK

    async def leave_when_closed() -> None:
        nonlocal code
        await bus.wait_closed()
        code = UNAVAILABLE
        log.error("bus.lost", url=settings.url, fix=BusUnavailable.fix)
        _end_by_force(CLOSED_GRACE, UNAVAILABLE)
        work.cancel()

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as work:
            stop.scope = work
            group.start_soon(leave_when_closed)
            log.info("service.started", pid=os.getpid())
            code = await _guarded(serve, bus, settings) or code
        group.cancel_scope.cancel()
    log.info("service.stopped", code=code)
    return code


async def _guarded(serve: Serve[S], bus: Bus, settings: S) -> int:
    """The edge of the process: an exception becomes one log event and an exit code."""
    code = OK
    try:
        await serve(bus, settings)
    except* SuiteError as errors:
        log.error("service.failed", reason=_first(errors))
        code = CRASHED
    except* Exception as errors:
        log.exception("service.failed", reason=_first(errors))
        code = CRASHED
    return code


def _first(error: BaseException) -> str:
    """The first leaf of an exception group, as text."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


async def _obey(stop: Stop, grace: float) -> None:
    """First signal: stop gracefully; second: end now."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            if stop.asked:
                log.warning("service.killed", signal=number.name)
                os._exit(128 + number)
            log.info("service.stopping", signal=number.name, grace_s=grace)
            _end_by_force(grace + MARGIN, CRASHED)
            stop.asked = True
            stop.scope.cancel()


def _end_by_force(seconds: float, code: int) -> None:
    """End the process after a while even if a thread or the loop hangs."""
    timer = threading.Timer(seconds, os._exit, [code])
    timer.daemon = True
    timer.start()
