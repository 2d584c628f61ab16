"""Keeps a group of programs running: what dies is started again, with growing pauses."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

import anyio

from ops.stack import backoff, process
from ops.stack.process import Child, Program

STOP_SECONDS = 10.0  # [s] from SIGTERM to SIGKILL
Say = Callable[[str], None]


class Group:
    """The children that run now, and those that gave up for good."""

    def __init__(self, programs: Iterable[Program], say: Say, final: Mapping[int, str]) -> None:
        self.programs = tuple(programs)
        self.running: dict[str, Child] = {}  # by label
        self.gone: dict[str, int] = {}  # those that are not started again, with their exit codes
        self._say = say
        self._final = final
        self._stopping = anyio.Event()

    def pids(self) -> dict[str, list[int]]:
        """Process ids by service, in the order of the programs."""
        found: dict[str, list[int]] = {program.service: [] for program in self.programs}
        for program in self.programs:
            if child := self.running.get(program.label):
                found[program.service].append(child.pid)
        return found

    async def keep(self, program: Program) -> None:
        """Run a program until the group stops or its exit code says that trying again is vain."""
        deaths = 0
        while not self._stopping.is_set():
            child = await self._start(program, again=deaths > 0)
            code = await self._outlive(child)
            if self._stopping.is_set():
                return
            if code in self._final:
                self.gone[program.label] = code
                self._say(f"{program.label}: {self._final[code]}")
                return
            deaths, pause = backoff.delay(deaths, lived=child.lived)
            self._say(
                f"{program.label} (pid {child.pid}) {process.describe(code)} after "
                f"{child.lived:.1f} s; starting it again in {pause:g} s"
            )
            with anyio.move_on_after(pause):
                await self._stopping.wait()

    async def stop(self) -> None:
        """Ask every child to stop and wait; kill those that take longer than STOP_SECONDS."""
        self._stopping.set()
        for child in list(self.running.values()):
            child.ask_to_stop()
        with anyio.move_on_after(STOP_SECONDS):
            await self._all_ended()
        for child in list(self.running.values()):
            self._say(f"{child.program.label} (pid {child.pid}) did not stop; killing it")
            child.kill()
        await self._all_ended()

    async def _start(self, program: Program, *, again: bool) -> Child:
        child = await process.start(program)
        self.running[program.label] = child
        if self._stopping.is_set():  # the stop came while it was being started and did not see it
            child.kill()
        elif again:
            self._say(f"{program.label} runs again (pid {child.pid})")
        return child

    async def _outlive(self, child: Child) -> int:
        try:
            return await child.wait()
        finally:
            del self.running[child.program.label]

    async def _all_ended(self) -> None:
        async with anyio.create_task_group() as tasks:
            for child in list(self.running.values()):
                tasks.start_soon(child.wait)


@asynccontextmanager
async def supervised(
    programs: Iterable[Program], *, say: Say, final: Mapping[int, str]
) -> AsyncIterator[Group]:
    """The programs, kept running for the length of a block; none of them outlives it.

    Args:
        say: told in one sentence of every death and restart.
        final: exit codes after which a program is not started again, and what they mean.
    """
    group = Group(programs, say, final)

    async def keep(program: Program) -> None:
        with anyio.CancelScope(
            shield=True
        ):  # children end by `stop` alone, never by being forgotten
            await group.keep(program)

    try:
        async with anyio.create_task_group() as tasks:
            for program in group.programs:
                tasks.start_soon(keep, program)
            try:
                yield group
            finally:
                with anyio.CancelScope(shield=True):
                    await group.stop()
    except BaseExceptionGroup as errors:
        if len(errors.exceptions) == 1:  # the block's own: callers name it, not its wrapping
            raise errors.exceptions[0] from None
        raise
