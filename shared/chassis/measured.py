"""Timed work on a backend, in slices: one operator call or a whole network, `repeat` times.

Everything here runs in the device thread. The clock is read only after the backend has finished.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from shared.contracts.errors import NonFiniteInput
from shared.contracts.v1.jobs import StepTime
from shared.network import shapes, streamed
from shared.network.execute import Loaded
from shared.operators.spec import Attributes, Backend, OperatorSpec, Tensors
from shared.tensors.layouts import Layout, Tensor

SLICE = 0.05  # [s] of repeats before others may use the device
TRANSFERS = 20  # timed uploads and downloads at most
TRACES = 20  # traced runs at most
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Measured:
    """Host outputs, and the times [s] of every repeat."""

    outputs: Tensors
    samples: tuple[float, ...]
    upload: tuple[float, ...] = ()
    download: tuple[float, ...] = ()
    steps: tuple[StepTime, ...] = ()

    @property
    def runs(self) -> int:
        """With the one before the timed ones."""
        return len(self.samples) + (len(self.samples) > 1)


def operator(
    backend: Backend, spec: OperatorSpec, tensors: Tensors, attributes: Attributes, repeat: int
) -> Generator[float, None, Measured]:
    """One operator call on given tensors; transfers are timed apart from the call.

    Args:
        repeat: timed calls; more than one are preceded by one that is not timed.
    """
    transfers = min(repeat, TRANSFERS)
    holder = _Holder(backend)

    def upload() -> None:
        holder.upload(tensors)

    def call() -> None:
        holder.keep(backend.run(spec, holder.inputs, attributes))

    try:
        uploads = yield from _repeat(backend, upload, transfers, (0.0, 0.1))
        samples = yield from _repeat(backend, call, repeat, (0.1, 0.9))
        downloads = yield from _repeat(backend, holder.download, transfers, (0.9, 1.0))
        return Measured(holder.hosted, samples, uploads, downloads)
    finally:
        holder.release()


def network(
    loaded: Loaded, tensors: Tensors, repeat: int, *, trace: bool = False, strict: bool = False
) -> Generator[float, None, Measured]:
    """A whole run of a network from host inputs to host outputs.

    Args:
        repeat: timed runs; more than one are preceded by one that is not timed.
        trace: also time every step, in runs of their own.
        strict: refuse NaN and infinity.

    Raises:
        ValueError: the inputs do not fit the network, or a spike is neither 0 nor 1.
        NonFiniteInput: see `require_finite`.
    """
    if strict:
        require_finite(tensors)
    streamed.require_inputs(loaded.network, tensors)
    outputs: Tensors = {}

    def call() -> None:
        nonlocal outputs
        outputs = loaded.run(tensors)

    samples = yield from _repeat(loaded.backend, call, repeat, (0.0, 1.0))
    if not trace:
        return Measured(outputs, samples)
    traces = []
    for _ in range(min(repeat, TRACES)):
        traces.append(loaded.trace(tensors, perf_counter)[1])
        yield 1.0
    return Measured(outputs, samples, steps=_steps(loaded, tensors, traces))


def require_finite(tensors: Tensors) -> None:
    """Hold inputs against the policy that refuses NaN and infinity.

    Raises:
        NonFiniteInput: names the tensor and the index of its first such value.
    """
    for name, tensor in tensors.items():
        if tensor.layout is not Layout.DENSE or tensor.values.dtype.kind != "f":
            continue
        bad = ~np.isfinite(tensor.values)
        if bad.any():
            index = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
            raise NonFiniteInput(f"input {name!r} holds {tensor.values[index]} at {index}")


class _Holder:
    """The residents of one operator call; the newest of each is kept, older ones are released."""

    def __init__(self, backend: Backend) -> None:
        self.inputs: Mapping[str, Any] = {}  # residents are the backend's own affair
        self.hosted: Tensors = {}
        self._backend = backend
        self._outputs: Mapping[str, Any] = {}

    def upload(self, tensors: Tensors) -> None:
        old = self.inputs
        uploaded: dict[str, Any] = {}
        self.inputs = uploaded
        for name, tensor in tensors.items():
            uploaded[name] = self._backend.upload(tensor)
        self._free(old)

    def keep(self, outputs: Mapping[str, Any]) -> None:
        old, self._outputs = self._outputs, outputs
        self._free(old)

    def download(self) -> None:
        self.hosted = {
            name: self._backend.download(output) for name, output in self._outputs.items()
        }

    def release(self) -> None:
        self._free(self.inputs)
        self._free(self._outputs)

    def _free(self, residents: Mapping[str, Any]) -> None:
        for resident in residents.values():
            self._backend.release(resident)


def _timed(backend: Backend, work: Callable[[], None]) -> float:
    start = perf_counter()
    work()
    backend.synchronize()
    return perf_counter() - start


def _repeat(
    backend: Backend, call: Callable[[], None], repeat: int, span: tuple[float, float]
) -> Generator[float, None, tuple[float, ...]]:
    """Time `repeat` calls after one warm-up (none before a single one), a slice at a time.

    Args:
        span: the share of the job that is done before and after.
    """
    first, last = span
    backend.synchronize()
    if repeat > 1:
        _timed(backend, call)
    samples: list[float] = []
    until = perf_counter() + SLICE
    while len(samples) < repeat:
        samples.append(_timed(backend, call))
        if perf_counter() > until and len(samples) < repeat:
            yield first + (last - first) * len(samples) / repeat
            until = perf_counter() + SLICE
    return tuple(samples)


def _steps(loaded: Loaded, tensors: Tensors, traces: list[list[float]]) -> tuple[StepTime, ...]:
    """Median time of each step over the traces, with its cost for this batch."""
    costs = shapes.step_costs(loaded.network, rows(loaded, tensors))
    return tuple(
        StepTime(
            step=step.name,
            operator=step.operator,
            seconds=median(seconds),
            flops=cost.flops,
            bytes=cost.bytes,
            sparsity=sparsity,
        )
        for (step, cost, sparsity), *seconds in zip(costs, *traces, strict=True)
    )


def rows(loaded: Loaded, tensors: Mapping[str, Tensor]) -> int:
    """The batch: rows of the first input whose first dimension is open, else 1."""
    for name, kind in loaded.network.inputs.items():
        if kind.shape and kind.shape[0] is None:
            return tensors[name].shape[0]
    return 1
