"""When a stack is ready: the broker stores, every worker is on the bus, somebody schedules, the
gateway answers."""

from collections.abc import Iterable

import anyio

from ops.stack import plan
from ops.stack.supervisor import Group
from shared.bus import jetstream
from shared.bus.port import Bus, Entry
from shared.chassis.settings import BusSettings
from shared.client.client import Client
from shared.contracts.errors import BusUnavailable, StackNotReady, SuiteError
from shared.contracts.subjects import Bucket
from shared.contracts.v1.workers import WorkerCard

POLL = 0.1  # [s]
BROKER_SECONDS = 10.0  # [s]
WITHOUT_CARD = frozenset({"gateway", "scheduler"})


async def wait_for_broker(url: str) -> None:
    """Return when the broker takes a connection and its streams are there.

    Raises:
        BusUnavailable: not within BROKER_SECONDS.
    """
    settings = BusSettings(nats_url=url, service="stack")
    deadline = anyio.current_time() + BROKER_SECONDS
    while True:
        try:
            async with jetstream.connect(settings):
                return
        except BusUnavailable:
            if anyio.current_time() > deadline:
                raise
        await anyio.sleep(POLL)


async def wait_for_services(url: str, grpc: str, group: Group, *, timeout: float) -> None:
    """Return when every service answers, or has said that it never will.

    Raises:
        StackNotReady: not within `timeout` seconds, or a service has wrong settings; names those
            that are missing.
    """
    missing = [program.label for program in group.programs]
    with anyio.move_on_after(timeout) as scope:
        async with jetstream.connect(BusSettings(nats_url=url, service="stack")) as bus:
            while missing:
                _require_settings(group)
                missing = await _missing(bus, grpc, group)
                if missing:
                    await anyio.sleep(POLL)
    if scope.cancelled_caught:
        raise StackNotReady(f"after {timeout:g} s these do not answer: {', '.join(missing)}")


def _require_settings(group: Group) -> None:
    """Waiting for a service that cannot read its settings would be vain."""
    wrong = [label for label, code in group.gone.items() if code == plan.BAD_SETTING]
    if wrong:
        raise StackNotReady(f"wrong settings, as said above, of: {', '.join(wrong)}")


async def _missing(bus: Bus, grpc: str, group: Group) -> list[str]:
    """Labels of the services that do not answer yet."""
    seen = _pids(await bus.entries(Bucket.WORKERS))
    missing = [
        program.label
        for program in group.programs
        if program.service not in WITHOUT_CARD
        and program.label not in group.gone
        and not ((child := group.running.get(program.label)) and child.pid in seen)
    ]
    if not await bus.entries(Bucket.LEADER):
        missing.append("scheduler")
    if not await _answers(grpc):
        missing.append("gateway")
    return missing


def _pids(entries: Iterable[Entry]) -> set[int]:
    return {WorkerCard.decode(entry.value).pid for entry in entries if entry.value}


async def _answers(grpc: str) -> bool:
    try:
        async with Client(grpc) as client:
            return await client.ready()
    except SuiteError:
        return False
