"""Measure a model on classes of workers and keep the figures in its manifest."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from services.profiler import figures, fit, steal
from services.profiler.figures import Figures
from services.profiler.workbench import Workbench
from shared.bus.port import Bus
from shared.contracts.errors import BusUnavailable, NoWorker, SuiteError, UnknownModel
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import InferBody, JobFinished
from shared.contracts.v1.models import ModelManifest, PortSignature, Variant
from shared.tensors import layouts
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Tensor

PROBES = 5  # calls of one row that say how much time the others will take
BUDGET = 0.5  # [s] of timed calls in one job
REPEATS = range(5, 401)  # timed calls in one job, however long or short they are
ROWS = (64, 16, 4, 2)  # of a second kind of call: the slope over the batch takes two
LONGEST = 0.5  # [s] that such a call may keep a device from others; the last of ROWS may longer
TRIES = 3  # for calls that something disturbed
MOST_SPREAD = 0.25  # interquartile range by median above which something did
LONG = 5.0  # [s] of timed calls that are not made again: they average what disturbs them
SWAPS = 20  # tries to store the figures while others change the manifest
SEED = 580
SPIKING = 0.1  # share of inputs that spike in a step: the time of a spiking network depends on it
Tell = Callable[[float, str], Awaitable[None]]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Failed:
    """A class that could not be measured, and why."""

    variant: str
    worker_class: str
    error: SuiteError


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure; None: all of them."""

    model: str
    variant: str | None = None
    worker_class: str | None = None
    missing_only: bool = False  # leave figures alone that are there already


async def measure(
    workbench: Workbench, wanted: Wanted, tell: Tell
) -> tuple[list[Figures], list[Failed]]:
    """Time variants on classes, and store what was found.

    Raises:
        UnknownModel: no such model or variant.
        NoWorker: no worker that computes is there.
        SuiteError: the error of the last class, when none could be measured.
    """
    manifest, _ = await read(workbench.bus, wanted.model)
    pairs = _pairs(manifest, wanted, await workbench.classes())
    found: list[Figures] = []
    failed: list[Failed] = []
    for done, (one, name) in enumerate(pairs):
        await tell(done / len(pairs), f"{one.name} on {name}")
        try:
            found.append(await _figures(workbench, manifest, one, name))
        except SuiteError as error:  # told in the report; the other classes still count
            log.warning(
                "class.unmeasured", model=wanted.model, worker_class=name, reason=str(error)
            )
            failed.append(Failed(one.name, name, error))
    if not found and failed:
        raise failed[-1].error
    await _store(workbench.bus, wanted, found)
    return found, failed


def _pairs(
    manifest: ModelManifest, wanted: Wanted, classes: Mapping[str, Collection[str]]
) -> list[tuple[Variant, str]]:
    """Every variant and class to measure."""
    variants = [one for one in manifest.variants if wanted.variant in (None, one.name)]
    if not variants:
        raise UnknownModel(f"model {wanted.model} has no variant {wanted.variant}")
    if not classes:
        raise NoWorker("no worker that computes is there to measure on")
    return [
        (one, name)
        for one in variants
        for name, devices in classes.items()
        if wanted.worker_class in (None, name)
        and not (wanted.missing_only and figures.complete(manifest, one, name, devices))
    ]


async def read(bus: Bus, model: str) -> tuple[ModelManifest, int]:
    """A manifest and its revision.

    Raises:
        UnknownModel: there is none.
    """
    entry = await bus.get(Bucket.MODELS, model)
    if entry is None or entry.value is None:
        raise UnknownModel(f"no model {model}")
    return ModelManifest.decode(entry.value), entry.revision


def inputs(
    ports: Sequence[PortSignature], rows: int, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Tensors that fit a signature: spikes as often as `SPIKING`, normal floats, small whole
    numbers for the rest."""
    return {port.name: _tensor(port, rows, rng) for port in ports}


def repeats(seconds: float) -> int:
    """How many calls of so many seconds are timed in one job."""
    return min(max(int(BUDGET / seconds), REPEATS.start), REPEATS.stop - 1)


def many_rows(seconds: float) -> int:
    """The rows of the second kind of call, after what a call of one row took."""
    return next((rows for rows in ROWS if rows * seconds <= LONGEST), ROWS[-1])


async def steadiest(
    workbench: Workbench,
    worker_class: str,
    body: InferBody,
    tensors: Mapping[str, Tensor],
    *,
    tries: int = TRIES,
) -> JobFinished:
    """The record of a measuring job; of several disturbed ones the least disturbed."""
    done: list[tuple[float, int, JobFinished]] = []
    for number in range(tries):
        before = steal.read()
        record = await workbench.run(worker_class, body, tensors)
        samples = record.timing.samples
        noise = max(
            fit.spread(samples) / MOST_SPREAD, steal.share(before, steal.read()) / steal.MOST
        )
        done.append((noise, number, record))
        if noise <= 1.0 or sum(samples) > LONG:
            break
    return min(done)[-1]


async def _figures(
    workbench: Workbench, manifest: ModelManifest, variant: Variant, worker_class: str
) -> Figures:
    """Calls of one row, traced, and of many; a probe bounds how long both keep the class busy."""

    async def run(rows: int, repeat: int, *, trace: bool, tries: int = TRIES) -> JobFinished:
        body = InferBody(model=manifest.model, variant=variant.name, trace=trace, repeat=repeat)
        tensors = inputs(manifest.inputs, rows, np.random.default_rng(SEED))
        return await steadiest(workbench, worker_class, body, tensors, tries=tries)

    seconds = fit.latency(await run(1, PROBES, trace=False, tries=1), batch=1).p50
    one = await run(1, repeats(seconds), trace=True)
    latencies = [fit.latency(one, batch=1)]
    if figures.batched(manifest):
        rows = many_rows(seconds)
        more = await run(rows, repeats(rows * seconds), trace=False)
        latencies.append(fit.latency(more, batch=rows))
    artifact = variant.artifact.sha256
    return Figures(variant.name, artifact, worker_class, tuple(latencies), one.timing.steps)


async def _store(bus: Bus, wanted: Wanted, found: Sequence[Figures]) -> None:
    """Compare and swap: others may add variants meanwhile."""
    for _ in range(SWAPS):
        manifest, revision = await read(bus, wanted.model)
        variants = tuple(
            figures.merged(variant, found, missing_only=wanted.missing_only)
            for variant in manifest.variants
        )
        data = manifest.model_copy(update={"variants": variants}).encode()
        if await bus.swap(Bucket.MODELS, wanted.model, data, revision=revision) is not None:
            return
    raise BusUnavailable(f"manifest of {wanted.model} changed {SWAPS} times under the new figures")


def _tensor(port: PortSignature, rows: int, rng: np.random.Generator) -> Tensor:
    shape = tuple(rows if size == -1 else size for size in port.shape)
    dtype = Dtype(port.dtype)
    if port.spikes:
        return layouts.dense((rng.random(shape) < SPIKING).astype(dtype.numpy))
    if dtype.numpy.kind == "f":
        return layouts.dense(rng.standard_normal(shape).astype(dtype.numpy))
    return layouts.dense(rng.integers(0, 2, shape).astype(dtype.numpy), dtype)
