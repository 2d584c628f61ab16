"""What the demo found: values that the terminal, the pictures and the page show alike."""

from dataclasses import dataclass, field

from shared.tensors.dtypes import Array


@dataclass(frozen=True, slots=True)
class VariantRow:
    """One variant as served; times in seconds, None where no such worker runs."""

    name: str
    bytes: int
    accuracy: float  # on held-out digits, through gRPC
    interval: tuple[float, float]  # 95 % interval of the accuracy
    p50: dict[str, float]  # worker class -> one call of one row, measured at the worker
    p99: dict[str, float]
    served_p50: float  # the same call as a gRPC client sees it
    placed_on: str
    reason: str
    verdict: str


@dataclass(frozen=True, slots=True)
class JobSpan:
    """One durable job on the time line; seconds since the first submission."""

    job: str
    worker: str
    start: float
    end: float
    attempt: int


@dataclass(frozen=True, slots=True)
class KillTest:
    """Durable jobs with a worker killed among them."""

    jobs: int
    results: int
    repeated: int  # announcements beyond the first of a job
    second_attempts: int
    victim: str
    killed_at: float  # [s since the first submission]
    seconds: float
    spans: tuple[JobSpan, ...] = ()


@dataclass(frozen=True, slots=True)
class Spiking:
    """Digits classified by counting the spikes of ten neurons."""

    accuracy: float
    dense_accuracy: float  # the same weights without spikes
    steps: int
    seconds: float
    input_rate: float  # share of input lines that spike in a step
    first_accuracy: float  # by the first spike instead
    raster: Array  # (steps, 64 + 10) of one digit: input lines, then output neurons
    membranes: Array  # (steps, 10) of the same digit, float32; the threshold is 1
    digit: int
    guess: int


@dataclass(slots=True)
class Findings:
    """Everything, in the order in which the demo finds it."""

    machine: dict[str, object] = field(default_factory=dict)
    devices: list[dict[str, object]] = field(default_factory=list)
    coverage: dict[str, int] = field(default_factory=dict)
    variants: list[VariantRow] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    operator_job: str = ""
    kill: KillTest | None = None
    spiking: Spiking | None = None
    seconds: float = 0.0
