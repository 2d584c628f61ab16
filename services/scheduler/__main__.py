"""Scheduler: wiring only."""

from services.scheduler import driver
from shared.bus.port import Bus
from shared.chassis import lifecycle
from shared.chassis.settings import BusSettings, load


async def serve(bus: Bus, settings: BusSettings) -> None:
    """Lead, or stand by for whoever leads."""
    await driver.lead(bus)


if __name__ == "__main__":
    lifecycle.run("scheduler", serve, load(BusSettings))
