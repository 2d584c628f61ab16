"""`ellesmere up`: the whole stack on this machine until a signal ends it."""

import json
import os
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ops.cli.session import Session

if TYPE_CHECKING:
    from anyio import CancelScope

    from ops.stack.plan import StackSettings

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Choice(StrEnum):
    """Where the stack listens."""

    USUAL = "usual"
    AUTO = "auto"


Ports = Annotated[Choice, typer.Option(help="8001, 8002 and 4222, or free ones.")]
Data = Annotated[Path, typer.Option(help="Folder of the broker's store.")]
CpuWorkers = Annotated[int, typer.Option(min=0, max=256, help="CPU worker processes.")]
GpuWorkers = Annotated[int, typer.Option(min=0, max=16, help="GPU worker processes.")]
NatsUrl = Annotated[
    str, typer.Option(help="Use this broker and start none.", envvar="ELLESMERE_NATS_URL")
]
Timeout = Annotated[float, typer.Option(min=1.0, help="Seconds to wait for the services.")]


def up(  # noqa: PLR0913 - one parameter per option
    session: Session,
    ports: Ports = Choice.USUAL,
    data: Data = Path(".ellesmere"),
    cpu_workers: CpuWorkers = 2,
    gpu_workers: GpuWorkers = 1,
    nats_url: NatsUrl = "",
    timeout: Timeout = 60.0,
) -> None:
    """Run broker and services; prints one line of JSON with addresses and process ids when ready.

    A process that dies is started again. Ctrl-C or SIGTERM ends everything with exit code 0.
    """
    import anyio

    from ops.stack import ports as addresses
    from ops.stack.plan import StackSettings
    from shared.chassis import settings as environment
    from shared.chassis import telemetry

    environment.read(environment.DeviceSettings)  # what the services would end with, told once
    telemetry.configure("stack", level="warning")  # ours alone; the services log for themselves
    settings = StackSettings(
        data=data.resolve(),
        ports=addresses.free() if ports is Choice.AUTO else addresses.Ports(),
        cpu_workers=cpu_workers,
        gpu_workers=gpu_workers,
        nats_url=nats_url or None,
    )
    anyio.run(_serve, settings, timeout)


async def _serve(settings: "StackSettings", timeout: float) -> None:
    import anyio

    from ops.stack import local

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_end_on_signal, tasks.cancel_scope)
        async with local.running(settings, say=_say, timeout=timeout) as stack:
            sys.stdout.write(json.dumps(stack.summary()) + "\n")
            sys.stdout.flush()
            await anyio.sleep_forever()


async def _end_on_signal(scope: "CancelScope") -> None:
    """First signal: stop everything in order; second: leave at once, the leashes do the rest."""
    import anyio

    with anyio.open_signal_receiver(*ENDING) as signals:
        async for _ in signals:
            if scope.cancel_called:
                os._exit(130)
            scope.cancel()


def _say(text: str) -> None:
    sys.stderr.write(f"ellesmere: {text}\n")
    sys.stderr.flush()
