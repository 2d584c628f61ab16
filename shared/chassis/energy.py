"""The energy that a device takes while something runs, as its sensors tell it."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import anyio.to_thread

from shared.chassis import sensors
from shared.chassis.sensors import NoSensor, Sensor

EVERY = 0.05  # [s] between two readings


@dataclass(slots=True)
class Taken:
    """What sensors told over a while; whole when the while is over."""

    sensor: str
    joules: float = 0.0
    seconds: float = 0.0
    readings: int = 0


class Meter:
    """The sensors of a worker's device; looked for each time they are asked, as rights change."""

    def __init__(self, find: Callable[[], Sequence[Sensor]] = sensors.none_known) -> None:
        self._find = find

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Taken]:
        """Read while the block runs; what the block raises comes out as it is.

        Raises:
            NoSensor: nothing can be read, or not any more; before the block, or after it.
        """
        found = await anyio.to_thread.run_sync(self._find)
        taken = Taken(", ".join(sensor.name for sensor in found))
        began, stop = time.monotonic(), anyio.Event()
        trouble: list[Exception] = []  # that of the block first; a group would wrap it
        async with anyio.create_task_group() as group:
            group.start_soon(_read, found, taken, stop, trouble)
            try:
                yield taken
            except Exception as error:
                trouble.insert(0, error)
            finally:
                stop.set()
        if trouble:
            raise trouble[0]
        taken.seconds = time.monotonic() - began


async def _read(
    found: Sequence[Sensor], taken: Taken, stop: anyio.Event, trouble: list[Exception]
) -> None:
    """Until told to stop, and once more then; what runs meanwhile does not end with a sensor."""
    last = False
    while not last:
        with anyio.move_on_after(EVERY):
            await stop.wait()
        last = stop.is_set()
        try:
            told = await anyio.to_thread.run_sync(lambda: [sensor.taken() for sensor in found])
        except NoSensor as error:
            trouble.append(error)
            return
        taken.joules += sum(told)
        taken.readings += 1
