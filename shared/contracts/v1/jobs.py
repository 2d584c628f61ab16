"""Jobs: what a client asks for, and the one record of how it ended."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints

from shared.contracts import subjects
from shared.contracts.errors import InvalidMessage
from shared.contracts.message import Message, Value
from shared.contracts.v1.recipes import Budget, Recipe
from shared.contracts.v1.training import Stdp, Training
from shared.tensors import header

Token = Annotated[str, StringConstraints(pattern=rf"^{subjects.TOKEN.pattern}$")]
ModelName = Annotated[str, StringConstraints(pattern=rf"^{subjects.NAME.pattern}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class BlobRef(Value):
    """Bytes in the blob stream, in parts of 4 MiB, named by what they are."""

    sha256: Sha256
    size: int = Field(ge=0, le=2**33)  # [bytes]


Size = Annotated[int, Field(ge=0, le=header.MAX_DIMENSION)]


class TensorRef(Value):
    """A tensor too large to travel inline: a blob that holds one safetensors file with it."""

    blob: BlobRef
    layout: str = "dense"
    dtype: str
    shape: tuple[Size, ...] = Field(max_length=header.MAX_RANK)


class ImportBody(Value):
    """Turn a network file (a blob) into a served model with one dense variant."""

    kind: Literal["import"] = "import"
    model: ModelName
    source: BlobRef
    # safetensors: a stored network of ours
    format: Literal["onnx", "safetensors", "nir"] = "onnx"
    dt: float = Field(default=1e-3, gt=0.0, le=1.0)  # nir: length of a step [s]
    steps: int = Field(default=100, ge=1, le=10_000)  # nir: of a call
    # nir: how equations are solved over a step; None: exact
    rule: Literal["exact", "euler"] | None = None
    nan_policy: Literal["reject", "pass"] = "reject"


class ProfileBody(Value):
    """Measure: a class of workers (`worker_class`), a model on every class, or both."""

    kind: Literal["profile"] = "profile"
    worker_class: Token | None = None
    model: ModelName | None = None
    variant: ModelName | None = None
    missing_only: bool = False  # of a model: leave figures alone that are there already


class CompressBody(Value):
    """Make a smaller variant and keep it only if accuracy and the objective hold.

    What is done is a method, or a recipe; with the action `search` several recipes are tried. The
    job carries tensors `x` (n, ...) and `labels` (n,) i64 that no training has seen; stages that
    learn read `train_x` and `train_labels`, those that calibrate `calibration_x` or `train_x`.
    """

    kind: Literal["compress"] = "compress"
    model: ModelName
    method: Literal["int8", "prune_csr", "prune"] | None = None  # prune: fastest layouts
    recipe: Recipe | None = None
    # apply (None): one recipe; search: recommended ones; the others change nothing. export needs no
    # tensors: its result has `variant` (None: the default one) as `file`, u8, in `format`.
    action: Literal["apply", "analyze", "recommend", "search", "benchmark", "export"] | None = None
    format: Literal["onnx", "safetensors", "nir"] | None = None  # of an export; None: onnx
    # of an export as nir: length of a step [s]; None: 0.001
    dt: float | None = Field(default=None, gt=0.0, le=1.0)
    budget: Budget | None = None  # of a search
    variant: ModelName | None = None  # what a recipe makes (None: named by its hash), or an export
    sparsity: float = Field(default=0.9, gt=0.0, lt=1.0)  # prune_csr, prune: share of zeros
    values: Literal["f32", "f16", "i8"] | None = None  # prune: how they are stored; None: f32
    # what must be better than before; accuracy: nothing, as long as it holds
    objective: Literal["latency", "size", "both", "accuracy"] = "latency"
    max_accuracy_drop: float = Field(default=0.01, ge=0.0, le=1.0)
    worker_class: Token | None = None  # the class that will serve; None: the route's first
    batch: int = Field(default=1, ge=1, le=4096)  # rows per timed call


class TrainBody(Training):
    """Train a model's dense variant further, or anew, and keep the result as a variant.

    The job carries tensors `train_x` (n, ...) and `train_labels` (n,) i64 (for the loss mse the
    wanted output), and may carry `x` and `labels` that no training has seen, to measure on. A job
    with `artifact` is the computing alone: it is pinned to a class of workers, and its report names
    the artifact that came out.

    The method stdp learns without labels (network.training.competitive): of `Training` it reads
    epochs and seed. `train_x` is (n, k) f32 from 0 to 1; labels say afterwards which class each
    neuron answers most. A `model` that does not exist is made. The result has the tensor `scores`,
    (n, classes), of the rows `x`.
    """

    kind: Literal["train"] = "train"
    method: Literal["gradient", "stdp"] | None = None  # None: gradient
    stdp: Stdp | None = None  # None: all as it is there
    model: ModelName | None = None
    artifact: Sha256 | None = None
    variant: ModelName = "trained"  # the name of the result
    fresh: bool = False  # start from new random weights
    worker_class: Token | None = None  # the class that computes; None: cpu


class InferBody(Value):
    """Run a model, or an artifact by digest, on the job's tensors."""

    kind: Literal["infer"] = "infer"
    model: ModelName | None = None
    variant: ModelName | None = None
    artifact: Sha256 | None = None
    trace: bool = False  # also return the time of every step
    repeat: int = Field(default=1, ge=1, le=10_000)  # timed runs after one warm-up
    activity: bool | None = None  # true: report spikes, operations, and energy over `repeat` runs
    observe: bool | None = None  # true: return what products read (network.observing) instead


class OperatorBody(Value):
    """Run one catalogued operator on the job's tensors."""

    kind: Literal["operator"] = "operator"
    operator: Token
    attributes: dict[str, bool | int | float | str | tuple[int, ...]] = {}
    repeat: int = Field(default=1, ge=1, le=10_000)


Body = Annotated[
    ImportBody | ProfileBody | CompressBody | TrainBody | InferBody | OperatorBody,
    Field(discriminator="kind"),
]
KINDS = ("import", "profile", "compress", "train", "infer", "operator")


class JobSubmitted(Message):
    """A client asks for work. Published on `subjects.job(tenant, kind)`."""

    type: Literal["jobs.submitted.v1"] = "jobs.submitted.v1"
    job: Token
    tenant: Token = "default"
    priority: int = Field(default=4, ge=0, le=9)  # 0 is served first
    deadline: float | None = None  # [s since the epoch]
    worker_class: Token | None = None  # pin to a class; None: the scheduler decides
    tensors: dict[str, TensorRef] = {}  # by name; the others are inline in the frame
    body: Body

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse as every message, and refuse a key that comes twice: it would mean two jobs.

        Raises:
            InvalidMessage: as for every message, or a repeated key.
        """
        job = super().decode(data)
        try:
            header.json_object(data.decode(), "message")
        except ValueError as error:
            raise InvalidMessage(str(error)) from None
        return job


class Status(StrEnum):
    """How a job ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Failure(Value):
    """An error as a value: the same shape on gRPC, in results and in dead letters."""

    code: str
    kind: str
    message: str
    fix: str = ""
    retryable: bool = False


class StepTime(Value):
    """Time of one step of a traced run."""

    step: str
    operator: str
    seconds: float
    flops: float
    bytes: float
    sparsity: float = 0.0  # share of zeros in its weight


class Timing(Value):
    """Where the time of one attempt went [s]. `samples` holds every timed repeat."""

    queued: float = 0.0
    fetch: float = 0.0
    upload: float = 0.0
    run: float = 0.0
    download: float = 0.0
    samples: tuple[float, ...] = ()
    upload_samples: tuple[float, ...] = ()
    download_samples: tuple[float, ...] = ()
    started_at: float = 0.0  # [s since the epoch]
    steps: tuple[StepTime, ...] = ()


class JobFinished(Message):
    """The write-once record on `subjects.result(tenant, job)`; output tensors ride in its frame."""

    type: Literal["jobs.finished.v1"] = "jobs.finished.v1"
    job: Token
    tenant: Token
    kind: str
    status: Status
    digest: str = ""  # sha256 of the submitted frame
    attempt: int = 1
    worker: str = ""
    worker_class: str = ""
    device: str = ""
    driver: str = ""
    timing: Timing = Timing()
    failure: Failure | None = None
    tensors: dict[str, TensorRef] = {}  # outputs too large to be inline
    report: dict[str, object] = {}  # kind-specific: coverage, verdict, profile


class JobEvent(Message):
    """Progress or a change of state: on `subjects.event` (lossy) and `subjects.audit` (stored)."""

    type: Literal["jobs.event.v1"] = "jobs.event.v1"
    job: Token
    tenant: Token
    what: str  # accepted, placed, started, progress, returned, ended
    at: float  # [s since the epoch]
    digest: str = ""
    worker: str = ""
    worker_class: str = ""
    attempt: int = 0
    reason: str = ""
    done: float | None = None  # share of the work finished, 0..1
    kind: str | None = None  # of the job; with `accepted`
    sequence: int | None = None  # in EL_JOBS; with `accepted`
