"""What a job or a model would cost on each class: contracts joined with the cost model."""

from dataclasses import dataclass, field

from services.scheduler.demand import Demand
from shared.contracts.v1.jobs import InferBody, JobSubmitted, StepTime
from shared.contracts.v1.models import Latency, ModelManifest, Variant
from shared.contracts.v1.workers import DeviceProfile, Measure
from shared.operators import catalog
from shared.operators.spec import Cost
from shared.placement import assign, cost, hardware
from shared.placement.assign import Candidate, ms
from shared.placement.cost import StepWork, Work
from shared.placement.hardware import DeviceFigures, Figure, Source
from shared.tensors.layouts import SPARSE

UNKNOWN = 1.0  # [s] expected of work that nothing is known of: compress, import, profile
BATCH = 64  # rows of the second point from which the slope of a batch is taken


@dataclass(frozen=True, slots=True)
class Line:
    """Time of one call [s] over its rows; `high` and `high_per_row` are its cautious side."""

    seconds: float  # at one row
    per_row: float  # for each further one
    high: float
    high_per_row: float
    source: Source
    told: str  # where the numbers come from

    def candidate(self, worker_class: str, *, rows: int = 1, repeat: int = 1) -> Candidate:
        """What calls of so many rows cost on a class."""
        seconds = (self.seconds + self.per_row * (rows - 1)) * repeat
        if self.source is Source.MEASURED:
            return assign.measured(worker_class, seconds)
        high = (self.high + self.high_per_row * (rows - 1)) * repeat
        return assign.expected(worker_class, seconds, high=high, source=self.source)


@dataclass(slots=True)
class Estimates:
    """The measured world: profiles by class, manifests by model."""

    figures: dict[str, DeviceFigures] = field(default_factory=dict)
    models: dict[str, ModelManifest] = field(default_factory=dict)

    def profiled(self, profile: DeviceProfile) -> None:
        """Take over the measured figures of a class."""
        self.figures[profile.worker_class] = figures(profile)

    def of_class(self, worker_class: str) -> DeviceFigures:
        """Measured figures, or stated ones that are marked so."""
        return self.figures.get(worker_class) or hardware.prior(worker_class)

    def job(self, job: JobSubmitted, demand: Demand, worker_class: str) -> Candidate:
        """What a job costs on a class."""
        if isinstance(job.body, InferBody):
            variant = self.variant(job.body)
            if variant is not None:
                one = line(variant, worker_class, self.of_class(worker_class))
                return one.candidate(worker_class, rows=demand.rows, repeat=demand.work.repeat)
        if not demand.work.steps:
            return assign.expected(worker_class, UNKNOWN, high=UNKNOWN, source=Source.PRIOR)
        known = self.of_class(worker_class)
        seconds, high = cost.typical(demand.work, known), cost.highest(demand.work, known)
        return assign.expected(worker_class, seconds, high=high, source=_source(known))

    def variant(self, body: InferBody) -> Variant | None:
        """The variant that an inference names, by model or by the digest of its artifact."""
        if body.model is not None:
            manifest = self.models.get(body.model)
            return manifest.variant(body.variant or "") if manifest else None
        held = (variant for one in self.models.values() for variant in one.variants)
        return next((one for one in held if one.artifact.sha256 == body.artifact), None)


def line(variant: Variant, worker_class: str, known: DeviceFigures) -> Line:
    """Time of a variant on a class: measured there, else computed from its steps, else guessed."""
    mine = sorted(
        (one for one in variant.latencies if one.worker_class == worker_class),
        key=lambda one: one.batch,
    )
    if mine:
        return _measured(mine)
    one, many = (cost.estimate(_work(variant, rows), known) for rows in (1, BATCH))
    traced = bool(_trace(variant))
    source = _source(known) if traced else Source.PRIOR
    told = f"{ms(one.low)} to {ms(one.high)}, {source} on {known.device}"
    return Line(
        seconds=one.typical,
        per_row=cost.seconds_per_row(one.typical, many.typical, BATCH),
        high=one.high,
        high_per_row=cost.seconds_per_row(one.high, many.high, BATCH),
        source=source,
        told=told if traced else f"{told}, from its weights alone",
    )


def figures(profile: DeviceProfile) -> DeviceFigures:
    """A measured profile as the cost model takes it."""
    return DeviceFigures(
        device=profile.device,
        source=Source.MEASURED,
        copy_bandwidth=_figure(profile.copy_bandwidth),
        gemm_rate=_figure(profile.gemm_rate),
        spmm_rate=_figure(profile.spmm_rate),
        launch=_figure(profile.launch),
        upload_bandwidth=_figure(profile.upload_bandwidth),
        download_bandwidth=_figure(profile.download_bandwidth),
    )


def _measured(points: list[Latency]) -> Line:
    first, last = points[0], points[-1]
    rows = last.batch - first.batch
    slope = max(0.0, (last.p50 - first.p50) / rows) if rows else first.p50 / first.batch
    seconds = max(first.p50 - slope * (first.batch - 1), 0.0)
    told = f"{ms(first.p50)} at batch {first.batch}, measured on {first.device}"
    return Line(seconds, slope, seconds, slope, Source.MEASURED, told)


def _work(variant: Variant, rows: int) -> Work:
    """Steps of a variant at some batch, from a trace at batch 1 on any class, else its bytes.

    Work grows with the rows; the bytes counted at batch 1 are mostly weights, read once.
    """
    traced = _trace(variant)
    if not traced:
        flops = 2.0 * rows * variant.weight_bytes / 4.0  # one multiply-add per f32 weight
        return Work((StepWork(Cost(flops, float(variant.weight_bytes))),))
    steps = (StepWork(Cost(step.flops * rows, step.bytes), _sparse(step)) for step in traced)
    return Work(tuple(steps))


def _sparse(step: StepTime) -> bool:
    """Whether a step's rate is that of sparse products: by its operator, not by chance zeros."""
    try:
        spec = catalog.spec(step.operator)
    except ValueError:  # of a worker that knows more
        return False
    return any(port.layout in SPARSE for port in spec.inputs)


def _trace(variant: Variant) -> tuple[StepTime, ...]:
    """The steps of a variant at batch 1, wherever they were timed; empty when nowhere yet."""
    return next((steps for steps in variant.steps.values() if steps), ())


def _source(known: DeviceFigures) -> Source:
    return Source.PRIOR if known.source is Source.PRIOR else Source.MODELLED


def _figure(measure: Measure) -> Figure:
    low, high = min(measure.low, measure.median), max(measure.high, measure.median)
    return Figure(typical=measure.median, low=low, high=high)
