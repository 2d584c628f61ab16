"""A whole stack on this machine: broker first, then the services; ended in the reverse order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ops.stack import folder, plan, ports, readiness
from ops.stack.plan import StackSettings
from ops.stack.supervisor import Group, Say, supervised


@dataclass(frozen=True, slots=True)
class Stack:
    """A stack whose services answer."""

    settings: StackSettings
    broker: Group
    services: Group

    def summary(self) -> dict[str, object]:
        """Addresses, data folder and process ids, as `ellesmere up` prints them."""
        settings = self.settings
        return {
            "grpc": settings.grpc,
            "metrics": settings.metrics,
            "nats": settings.nats,
            "data": str(settings.data),
            "pids": self.services.pids() | self.broker.pids(),
        }


@asynccontextmanager
async def running(
    settings: StackSettings, *, say: Say, timeout: float = 60.0
) -> AsyncIterator[Stack]:
    """A stack for the length of a block; no process of it outlives the block or this process.

    Raises:
        FolderInUse: another stack keeps its data there.
        AddressTaken: a port is in use.
        StackNotReady: a service did not come up within `timeout` seconds.
    """
    own = () if settings.nats_url else (settings.ports.nats,)
    with folder.locked(settings.data):
        ports.require_free(settings.ports.grpc, settings.ports.metrics, *own)
        broker_programs = plan.broker_programs(settings)
        async with supervised(broker_programs, say=say, final=plan.FINAL) as broker:
            await readiness.wait_for_broker(settings.nats)
            programs = plan.service_programs(settings)
            async with supervised(programs, say=say, final=plan.FINAL) as services:
                await readiness.wait_for_services(
                    settings.nats, settings.grpc, services, timeout=timeout
                )
                yield Stack(settings, broker, services)
