"""What a call would launch, without launching it: kernels, defines, sizes."""

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from services.gpu_worker.launch.call import Call, Gpu
from services.gpu_worker.launch.table import LAUNCHERS
from services.gpu_worker.resident import DeviceTensor, Part
from services.gpu_worker.tuned.problems import PATTERN, SIDE, Problem
from services.gpu_worker.tuning import Tuning
from shared.operators import catalog, validate
from shared.tensors.layouts import Layout, TensorType

GROUP = 64  # of a kernel whose defines do not say


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch: which kernel, with which defines."""

    operator: str
    entry: str
    defines: dict[str, int | str]
    items: int
    rows: int


@dataclass(slots=True)
class Recorder:
    """Stands for device, programs and residency at once."""

    launches: list[Launch] = field(default_factory=list)
    doubles: bool = True

    @property
    def name(self) -> str:
        return "nothing"

    def kernel(self, operator: str, defines: dict[str, Any], entry: str | None = None) -> "_Kernel":
        return _Kernel(self, operator, entry or operator, dict(defines))

    def empty(self, kind: TensorType) -> DeviceTensor:
        return resident(kind)

    def view(self, tensor: DeviceTensor, kind: TensorType) -> DeviceTensor:
        return resident(kind)


@dataclass(slots=True)
class _Kernel:
    recorder: Recorder
    operator: str
    entry: str
    defines: dict[str, Any]

    @property
    def group(self) -> int:
        return int(self.defines.get("GROUP", GROUP))

    def launch(self, items: int, *arguments: object, rows: int = 1) -> None:
        assert items >= 0
        assert rows >= 0
        self.recorder.launches.append(Launch(self.operator, self.entry, self.defines, items, rows))


def resident(kind: TensorType) -> DeviceTensor:
    """A tensor whose arrays have shapes and nothing else."""
    rows, cols = (*(size or 0 for size in kind.shape), 1)[:2]
    shapes: dict[str, tuple[int, ...]] = {
        "values": (SIDE, SIDE, SIDE) if kind.layout is Layout.BLOCK else (rows, cols),
        "pattern": PATTERN,
        "positions": (rows, cols // PATTERN[1] * PATTERN[0] // 2),
        "scale": (rows, max(cols // 64, 1)),
    }
    names = ("codes", "indptr", "indices", "columns", "row_ptr", "starts", "lengths", "order")
    shapes |= dict.fromkeys((*names, "words"), (1,))
    kinds = {"indices": np.uint16, "columns": np.uint16}
    parts = {
        name: Part(cast("Any", None), np.dtype(kinds.get(name, np.float32)), shape)
        for name, shape in shapes.items()
    }
    return _Held(kind, cast("dict[str, Part]", parts))


class _Held(DeviceTensor):
    def buffer(self, part: str = "values") -> Any:
        return self.parts[part]


def launches(problem: Problem, tuning: Tuning) -> list[Launch]:
    """What the problem's call launches with given tunables."""
    recorder = Recorder()
    everything = cast("Any", recorder)
    gpu = Gpu(everything, everything, everything, tuning)
    spec = catalog.spec(problem.operator)
    filled = validate.call(spec, problem.types, problem.attributes)
    inputs = {port: resident(kind) for port, kind in problem.types.items()}
    LAUNCHERS[spec.name](Call(gpu, inputs, filled, spec.infer(problem.types, filled)))
    return recorder.launches
