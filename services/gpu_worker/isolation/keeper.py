"""Keeps one child running, from a thread of its own: a child dies with the thread that made it."""

import contextlib
import threading
import time
from collections.abc import Callable

import structlog

from services.gpu_worker.isolation.link import Gone, Link
from services.gpu_worker.isolation.messages import Ready, Unusable
from services.gpu_worker.isolation.restarts import Restarts
from shared.chassis.fitness import Fitness, State
from shared.contracts.errors import DeviceLost

CLOSE_EVERY = 0.05  # [s] between two tries to end a child that may just be starting
log = structlog.get_logger()


class Keeper:
    """The child of now, if there is one, and the thread that starts the next."""

    def __init__(
        self,
        start: Callable[[int], Link],
        open_link: Callable[[Link], Ready | Unusable],
        fitness: Fitness,
        limit: int,
    ) -> None:
        """Nothing is started yet.

        Args:
            start: makes the child of a number.
            open_link: has it open and prove its device; may raise Gone.
            fitness: told when the device goes and comes.
            limit: deaths in a row that make the worker unready, or end the first attempts.
        """
        self.ready: Ready | None = None  # what the newest child said of its device
        self.starts = 0
        self._start, self._open = start, open_link
        self._fitness = fitness
        self._restarts = Restarts(limit)
        self._lock = threading.RLock()
        self._link: Link | None = None  # ready for work
        self._young: Link | None = None  # being opened
        self._ready_at: float | None = None  # [s] on the monotonic clock
        self._closing = threading.Event()
        self._first = threading.Event()  # the first outcome is known
        self._refused: Unusable | None = None
        self._thread = threading.Thread(target=self._run, name="device-keeper", daemon=True)

    def begin(self) -> Unusable | None:
        """Start the first child; returns when it is ready, or why there will be none."""
        self._thread.start()
        self._first.wait()
        return self._refused

    def __enter__(self) -> Link:
        """The child for the length of a block.

        Raises:
            DeviceLost: there is none now; or, when the block ends, it went inside.
        """
        self._lock.acquire()
        if self._link is None:
            self._lock.release()
            raise DeviceLost(self._fitness.standing.reason or "the device is away")
        return self._link

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """The child is no longer needed; turns Gone into DeviceLost."""
        try:
            if isinstance(error, Gone):
                self.condemn()
                raise DeviceLost(str(error)) from None
        finally:
            self._lock.release()

    def condemn(self) -> None:
        """End the child of now: its device cannot be used any more. Another one is started."""
        with self._lock:
            if self._link is not None:
                self._link.kill()
                self._link = None  # nobody tries it again until its end was noticed

    @property
    def pid(self) -> int | None:
        """Process id of the child that works now."""
        link = self._link
        return link.pid if link else None

    def close(self) -> None:
        """End the child, whatever it does, and start no other."""
        self._closing.set()
        while self._thread.is_alive():
            for link in (self._link, self._young):  # no lock: a call may hold it for long
                if link is not None:
                    link.kill()
            self._thread.join(CLOSE_EVERY)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._ready_at = None
            reason, final = self._one_life()
            if self._closing.is_set():
                break
            lived = time.monotonic() - self._ready_at if self._ready_at is not None else 0.0
            self._restarts = self._restarts.died(lived=lived)
            if self.ready is None and (final or self._restarts.trouble):
                self._refused = final or Unusable(DeviceLost.code, reason, DeviceLost.fix, False)
                break
            self._report(reason)
            self._closing.wait(self._restarts.pause)
        self._first.set()

    def _one_life(self) -> tuple[str, Unusable | None]:
        """Start a child and wait for its end; why it ended, and its refusal if that is final."""
        self.starts += 1
        link = self._young = self._start(self.starts)
        try:
            if self._closing.is_set():
                return "", None
            told = self._open(link)
            if isinstance(told, Unusable):
                return told.text, told if told.final else None
            self._adopt(link, told)
            return f"the device's process (pid {link.pid}) {link.wait()}", None
        except Gone as error:
            return str(error), None
        finally:
            with self._lock:
                self._link = self._young = None
            with contextlib.suppress(OSError):
                link.close()

    def _adopt(self, link: Link, told: Ready) -> None:
        with self._lock:
            self._link, self._young = link, None
            self.ready, self._ready_at = told, time.monotonic()
        self._fitness.become(State.FIT)
        log.info("device.opened", child=link.pid, starts=self.starts, **told.facts)
        self._first.set()

    def _report(self, reason: str) -> None:
        """Tell of a death, the louder the more there were."""
        deaths, pause = self._restarts.deaths, self._restarts.pause
        if self._restarts.trouble:
            state, reason = State.UNREADY, f"{deaths} failures in a row; the last: {reason}"
            log.error("device.unready", reason=reason, deaths=deaths, pause_s=pause)
        else:
            state = State.AWAY
            log.warning("device.lost", reason=reason, deaths=deaths, pause_s=pause)
        self._fitness.become(state, reason)
