"""Models: a name, its variants, their measurements, and the route that serves them."""

from typing import Literal

from pydantic import Field

from shared.contracts.message import Message, Value
from shared.contracts.v1.jobs import BlobRef, ModelName, StepTime, Token


class PortSignature(Value):
    """One input or output as clients see it."""

    name: str
    dtype: str  # shared.tensors.dtypes.Dtype
    shape: tuple[int, ...]  # -1 is the batch dimension
    spikes: bool | None = None  # true: every value is 0 or 1, a step of time after the other


class Latency(Value):
    """Measured time of one call on one class."""

    worker_class: Token
    device: str
    batch: int
    p50: float  # [s]
    p99: float  # [s]
    samples: int


class Verdict(Value):
    """Why a variant was kept or refused, with the numbers."""

    accepted: bool
    reason: str
    worker_class: str = ""
    objective: str = ""
    accuracy: float = 0.0
    baseline_accuracy: float = 0.0
    accuracy_low: float = 0.0  # 95 % interval
    accuracy_high: float = 0.0
    seconds: float = 0.0
    baseline_seconds: float = 0.0
    bytes: int = 0
    baseline_bytes: int = 0


class Variant(Value):
    """One artifact of a model: what `model_version` names on the wire."""

    name: ModelName
    artifact: BlobRef
    weight_bytes: int
    method: str = "dense"
    job: Token | None = None  # that made it; None: not noted
    latencies: tuple[Latency, ...] = ()
    steps: dict[str, tuple[StepTime, ...]] = {}  # per class, traced at batch 1
    verdict: Verdict | None = None


class ModelManifest(Message):
    """Everything known of a model; kept in `el_models` under its name, changed by CAS."""

    type: Literal["models.manifest.v1"] = "models.manifest.v1"
    model: ModelName
    platform: str = "ellesmere_network"
    inputs: tuple[PortSignature, ...]
    outputs: tuple[PortSignature, ...]
    nan_policy: Literal["reject", "pass"] = "reject"
    loaded: bool = True
    variants: tuple[Variant, ...] = Field(min_length=1)
    default: ModelName = "dense"
    created_at: float = 0.0  # [s since the epoch]
    coverage: dict[str, int] = {}  # imported operator -> how many

    def variant(self, name: str) -> Variant | None:
        """The variant of that name; the empty name is the default one."""
        wanted = name or self.default
        return next((variant for variant in self.variants if variant.name == wanted), None)


class RouteChoice(Value):
    """One class that may serve a variant, and what a call is expected to cost there."""

    worker_class: Token
    seconds: float  # one call of batch 1
    seconds_per_row: float  # further rows of a batch
    measured: bool  # False: estimated from the device profile
    reason: str


class Route(Message):
    """Per variant the classes in order of cost; kept in `el_routes` as `model.<name>`."""

    type: Literal["models.route.v1"] = "models.route.v1"
    model: ModelName
    choices: dict[str, tuple[RouteChoice, ...]]  # by variant
