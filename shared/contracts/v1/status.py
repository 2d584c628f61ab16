"""The suite as one gateway sees it: workers, routes, devices, models, queues."""

from typing import Literal

from shared.contracts.message import Message, Value
from shared.contracts.v1.models import ModelManifest, Route
from shared.contracts.v1.workers import DeviceProfile, Heartbeat, WorkerCard


class WorkerStatus(Value):
    """One worker that lives."""

    card: WorkerCard
    beat: Heartbeat | None = None  # the newest
    age: float  # [s] since it was last heard of


class SuiteStatus(Message):
    """What the Status call answers."""

    type: Literal["suite.status.v1"] = "suite.status.v1"
    gateway: str
    ready: bool  # the broker answers and the tables are filled
    in_flight: int  # calls in hand
    in_flight_bytes: int
    workers: tuple[WorkerStatus, ...] = ()
    routes: tuple[Route, ...] = ()
    devices: tuple[DeviceProfile, ...] = ()
    models: tuple[ModelManifest, ...] = ()
    queues: dict[str, int] = {}  # `jobs`, and per class the placed jobs not yet acknowledged
