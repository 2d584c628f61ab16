"""The one thread that calls a backend, and the right to call it from elsewhere while it idles."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio
import anyio.lowlevel

from shared.operators.spec import Backend

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Finished(Generic[T]):
    """What a generator returned."""

    result: T


class DeviceThread:
    """Runs blocking work on a backend, one call at a time, in the order it was asked for.

    A backend with a true attribute `thread_bound` is called from this thread and no other.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._bound = bool(getattr(backend, "thread_bound", False))
        self._lock = threading.Lock()
        self._since: float | None = None  # start of the call that runs now
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"device-{backend.name}")

    async def call(self, work: Callable[[], T]) -> T:
        """Run `work` in the thread. Not interrupted by cancellation: a device call never is."""
        with anyio.CancelScope(shield=True):
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self._pool, self._locked, work)
        return result  # noqa: RET504  a scope might swallow, so mypy wants the return out here

    async def drive(self, work: Generator[S, None, T], tell: Callable[[S], Awaitable[None]]) -> T:
        """Run a generator slice by slice; between two slices others may use the device.

        Args:
            work: yields how far it is, and returns the result; its `finally` blocks run in the
                device thread too, also when this call is cancelled.
            tell: told all that is yielded.
        """
        try:
            while True:
                step = await self.call(lambda: _next(work))
                if isinstance(step, Finished):
                    return step.result
                await tell(step)
                await anyio.lowlevel.checkpoint_if_cancelled()  # `call` is shielded
        finally:
            await self.call(work.close)

    @contextmanager
    def borrowed(self) -> Iterator[bool]:
        """Whether the calling thread may use the backend itself inside the block: the backend
        allows it and the device thread is idle."""
        mine = not self._bound and self._lock.acquire(blocking=False)
        try:
            yield mine
        finally:
            if mine:
                self._lock.release()

    def stuck(self, limit: float) -> bool:
        """Whether one call has run for more than `limit` seconds: the device hangs."""
        since = self._since
        return since is not None and time.monotonic() - since > limit

    def close(self) -> None:
        """Take no more work; what runs is left to end by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _locked(self, work: Callable[[], T]) -> T:
        with self._lock:
            self._since = time.monotonic()
            try:
                return work()
            finally:
                self._since = None


def _next(work: Generator[S, None, T]) -> "S | Finished[T]":
    try:
        return next(work)
    except StopIteration as end:
        return Finished(end.value)
