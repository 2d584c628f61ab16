"""What the layers of a network read on calibration rows, observed by all CPU workers."""

from collections.abc import Mapping
from dataclasses import replace

import anyio
import numpy as np

from services.compressor.measure import Bench
from shared.contracts.errors import InvalidTensor, NonFiniteInput
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import BlobRef, InferBody
from shared.contracts.v1.workers import WorkerCard
from shared.network import observing
from shared.quantization.observers import Observed
from shared.tensors import layouts
from shared.tensors.dtypes import Array
from shared.tensors.layouts import Layout, Tensor

ROWS, LEARNED = "calibration_x", "train_x"
MOST = 4096  # rows that are observed
PART = 256  # rows of a job at least
CPU = "cpu"  # the class of workers that is scaled out


def rows(tensors: Mapping[str, Tensor]) -> Array:
    """The calibration rows of a compress job, at most `MOST`.

    Raises:
        InvalidTensor: there are none, or they are not dense.
        NonFiniteInput: one holds NaN or infinity.
    """
    name = next((name for name in (ROWS, LEARNED) if name in tensors), None)
    if name is None:
        raise InvalidTensor(f"calibration needs a tensor {ROWS!r} or {LEARNED!r}")
    if tensors[name].layout is not Layout.DENSE or not tensors[name].size:
        raise InvalidTensor(f"{name} is {tensors[name].layout} {tensors[name].shape}; send rows")
    x = tensors[name].values[:MOST]
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise NonFiniteInput(f"{name} holds NaN or infinity; nothing can be calibrated on it")
    return x


async def observe(bench: Bench, artifact: BlobRef, x: Array) -> dict[str, Observed]:
    """Observe the rows in as many jobs as CPU workers live, and merge what they saw.

    Without CPU workers, those of the class that is to serve observe.

    Raises:
        SuiteError: what a job failed with.
    """
    spread, workers = await _observers(bench)
    parts = np.array_split(x, min(workers, max(len(x) // PART, 1)))
    found: dict[int, dict[str, Observed]] = {}

    async def part(at: int, these: Array) -> None:
        body = InferBody(artifact=artifact.sha256, observe=True)
        record, tensors = await spread.run(body, {bench.rows.port: layouts.dense(these)})
        steps = record.report["steps"]
        assert isinstance(steps, list)  # the worker's report
        found[at] = observing.from_tensors(tensors, [str(step) for step in steps])

    async with anyio.create_task_group() as group:
        for at, these in enumerate(parts):
            group.start_soon(part, at, these)
    return observing.merge([found[at] for at in sorted(found)])


async def _observers(bench: Bench) -> tuple[Bench, int]:
    """Where jobs that observe go, and how many workers live there."""
    live = [
        WorkerCard.decode(entry.value).worker_class
        for entry in await bench.bus.entries(Bucket.WORKERS)
        if entry.value is not None
    ]
    chosen = CPU if CPU in live else bench.worker_class
    return replace(bench, worker_class=chosen), max(live.count(chosen), 1)
