"""Workers: who they are, that they live, and what was measured of their devices."""

from typing import Literal

from pydantic import Field

from shared.contracts.message import Message, Value
from shared.contracts.v1.jobs import Token


class WorkerCard(Message):
    """What a worker can do; kept in `el_workers` while it lives."""

    type: Literal["workers.card.v1"] = "workers.card.v1"
    worker: Token
    worker_class: Token
    service: str
    pid: int
    host: str = ""
    device: str = ""
    driver: str = ""
    memory: int = 0  # [bytes] of the device
    slots: int = 1  # durable jobs at once
    kinds: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()  # sha256 of every loaded variant
    draining: bool = False  # takes nothing more, for good or for now
    unready: str | None = None  # why it takes no work for now
    quarantined: str | None = None  # why its device is not trusted


class WorkerEvent(Message):
    """What became of a worker's device; stored under `subjects.worker_audit`."""

    type: Literal["workers.event.v1"] = "workers.event.v1"
    worker: Token
    worker_class: Token
    what: str  # fit, away, unready, quarantined
    at: float  # [s since the epoch]
    reason: str = ""


class Heartbeat(Message):
    """Twice a second on `subjects.heartbeat(worker)`."""

    type: Literal["workers.heartbeat.v1"] = "workers.heartbeat.v1"
    worker: Token
    worker_class: Token
    slots: int
    free: int
    running: tuple[str, ...] = ()  # `<tenant>.<job>` of every durable job in hand
    draining: bool = False


class Measure(Value):
    """A median with its spread and how many clean samples it rests on."""

    median: float
    low: float  # 25th percentile
    high: float  # 75th percentile
    samples: int = Field(ge=1)


class DeviceProfile(Message):
    """What was measured of a class of workers; kept in `el_routes` as `device.<class>`."""

    type: Literal["devices.profiled.v1"] = "devices.profiled.v1"
    worker_class: Token
    worker: str
    device: str
    driver: str
    measured_at: float  # [s since the epoch]
    steal: float = 0.0  # share of CPU time lost to neighbours while measuring
    copy_bandwidth: Measure  # [byte/s], read plus write
    gemm_rate: Measure  # [flop/s]
    spmm_rate: Measure  # [flop/s] on stored non-zeros
    launch: Measure  # [s] of one empty step
    upload_bandwidth: Measure  # [byte/s]
    download_bandwidth: Measure  # [byte/s]


class LayoutTrial(Value):
    """What one way to store a matrix took on a class of workers."""

    candidate: str  # layout, form and value type; see shared.sparse.candidates
    seconds: float  # of one product
    conversion: float  # [s], once


class LayoutTrials(Message):
    """What was tried of layouts on a class of workers; kept in `el_routes` as `layouts.<class>`."""

    type: Literal["devices.layouts.v1"] = "devices.layouts.v1"
    worker_class: Token
    device: str
    driver: str
    edition: int  # of what trials compare
    trials: dict[str, tuple[LayoutTrial, ...]] = {}  # by class of matrices, the latest last
