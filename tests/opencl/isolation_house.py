"""A backend whose device is in a child process, and a small network to run there."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from services.gpu_worker.isolation.backend import IsolatedBackend
from services.gpu_worker.settings import GpuSettings
from shared.network.graph import Network, Step
from shared.tensors import layouts
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType
from tests.opencl import faults

COLUMNS = 4


@contextmanager
def opened(cache: Path, opener: str = "faulty", **settings: object) -> Iterator[IsolatedBackend]:
    """A backend for the length of the block; its child is gone afterwards."""
    whole = GpuSettings.model_validate({"cache": cache, "device_patience": 240.0, **settings})
    backend = IsolatedBackend(whole, opener=f"{faults.HERE}:{opener}")
    try:
        backend.open()
        yield backend
    finally:
        backend.close()


def doubling() -> Network:
    """y = 2 (2 x): x (batch, 4) f32 -> y (batch, 4) f32, in two steps."""
    weight = layouts.dense(np.eye(COLUMNS, dtype=np.float32) * np.float32(2.0))
    steps = (
        Step("once", "gemm_f32", {"x": "x", "weight": "w"}, {"y": "h"}),
        Step("twice", "gemm_f32", {"x": "h", "weight": "w"}, {"y": "y"}),
    )
    inputs = {"x": TensorType(Layout.DENSE, Dtype.F32, (None, COLUMNS))}
    return Network(inputs, ("y",), steps, {"w": weight})


def widening(rows: int) -> Network:
    """y = ones x: x (batch, 4) f32 -> y (batch, rows) f32."""
    weight = layouts.dense(np.ones((rows, COLUMNS), np.float32))
    step = Step("widen", "gemm_f32", {"x": "x", "weight": "w"}, {"y": "y"})
    inputs = {"x": TensorType(Layout.DENSE, Dtype.F32, (None, COLUMNS))}
    return Network(inputs, ("y",), (step,), {"w": weight})


def row(first: float = 1.0) -> dict[str, Tensor]:
    """x = (first, 1, 2, 3)."""
    return {"x": layouts.dense(np.array([[first, 1, 2, 3]], np.float32))}


def until(holds: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Wait for another process: it has no event of ours to set."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def again(backend: IsolatedBackend, *, without: int | None) -> None:
    """Wait until another child than this one is ready."""
    until(lambda: backend.keeper.pid not in (None, without) and backend.fitness.standing.fit)
