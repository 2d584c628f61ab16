"""Measure a model on classes of workers and keep the figures in its manifest."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from services.profiler import fit
from services.profiler.workbench import Workbench
from shared.bus.port import Bus
from shared.contracts.errors import BusUnavailable, SuiteError, UnknownModel
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import InferBody, StepTime
from shared.contracts.v1.models import Latency, ModelManifest, PortSignature, Variant
from shared.tensors import layouts
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Tensor

BATCHES = {1: 50, 64: 20}  # rows of a call -> timed repeats
SWAPS = 20  # tries to store the figures while others change the manifest
SEED = 580
Tell = Callable[[float, str], Awaitable[None]]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one variant on one class."""

    variant: str
    worker_class: str
    latencies: tuple[Latency, ...]
    steps: tuple[StepTime, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """A class that could not be measured, and why."""

    variant: str
    worker_class: str
    error: SuiteError


async def measure(
    workbench: Workbench,
    model: str,
    variant: str | None,
    classes: Sequence[str],
    tell: Tell,
) -> tuple[list[Figures], list[Failed]]:
    """Time every variant (or one) on every class, and store what was found.

    Raises:
        UnknownModel: no such model or variant.
        SuiteError: the error of the last class, when none could be measured.
    """
    manifest, _ = await read(workbench.bus, model)
    wanted = [one for one in manifest.variants if variant in (None, one.name)]
    if not wanted:
        raise UnknownModel(f"model {model} has no variant {variant}")
    pairs = [(one, name) for one in wanted for name in classes]
    found: list[Figures] = []
    failed: list[Failed] = []
    for done, (one, name) in enumerate(pairs):
        await tell(done / len(pairs), f"{one.name} on {name}")
        try:
            found.append(await _figures(workbench, manifest, one, name))
        except SuiteError as error:  # told in the report; the other classes still count
            log.warning("class.unmeasured", model=model, worker_class=name, reason=str(error))
            failed.append(Failed(one.name, name, error))
    if not found and failed:
        raise failed[-1].error
    await _store(workbench.bus, model, found)
    return found, failed


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
    """Tensors that fit a model's signature: normal floats, small whole numbers for the rest."""
    return {port.name: _tensor(port, rows, rng) for port in ports}


def merged(variant: Variant, found: Sequence[Figures]) -> Variant:
    """A variant with new figures in the place of the old ones of the same class."""
    mine = [one for one in found if one.variant == variant.name]
    fresh = {one.worker_class for one in mine}
    kept = [one for one in variant.latencies if one.worker_class not in fresh]
    latencies = (*kept, *(each for one in mine for each in one.latencies))
    steps = {**variant.steps, **{one.worker_class: one.steps for one in mine}}
    return variant.model_copy(update={"latencies": latencies, "steps": steps})


async def _figures(
    workbench: Workbench, manifest: ModelManifest, variant: Variant, worker_class: str
) -> Figures:
    rng = np.random.default_rng(SEED)
    latencies: list[Latency] = []
    steps: tuple[StepTime, ...] = ()
    for rows, repeat in BATCHES.items():
        body = InferBody(model=manifest.model, variant=variant.name, trace=rows == 1, repeat=repeat)
        tensors = inputs(manifest.inputs, rows, rng)
        record = await workbench.run(worker_class, body, tensors)
        latencies.append(fit.latency(record, batch=rows))
        steps = record.timing.steps or steps
    return Figures(variant.name, worker_class, tuple(latencies), steps)


async def _store(bus: Bus, model: str, found: Sequence[Figures]) -> None:
    """Compare and swap: others may add variants meanwhile."""
    for _ in range(SWAPS):
        manifest, revision = await read(bus, model)
        variants = tuple(merged(variant, found) for variant in manifest.variants)
        changed = manifest.model_copy(update={"variants": variants})
        if await bus.swap(Bucket.MODELS, model, changed.encode(), revision=revision) is not None:
            return
    raise BusUnavailable(f"manifest of {model} changed {SWAPS} times while it was to be stored")


def _tensor(port: PortSignature, rows: int, rng: np.random.Generator) -> Tensor:
    shape = tuple(rows if size == -1 else size for size in port.shape)
    dtype = Dtype(port.dtype)
    if dtype.numpy.kind == "f":
        return layouts.dense(rng.standard_normal(shape).astype(dtype.numpy))
    return layouts.dense(rng.integers(0, 2, shape).astype(dtype.numpy), dtype)
