"""Known answers before the first job: a device that computes wrongly must not serve."""

from collections.abc import Iterable

import numpy as np

from services.gpu_worker.backend import OpenCLBackend
from shared.contracts.errors import DeviceFailed
from shared.operators import catalog
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Case, OperatorSpec, Tensors
from shared.tensors.dtypes import Array, Dtype
from shared.tensors.layouts import Layout, Tensor, dense

SEED = 803
WARM_SIZE = 64  # inputs and outputs of the products that are built ahead


class WrongAnswer(DeviceFailed):
    """The device ran an operator and its result differs from the reference."""

    retryable = False
    fix = "update the OpenCL driver; until then CPU workers do the work"


def check(backend: OpenCLBackend, operators: Iterable[str] | None = None) -> int:
    """Run the first case of each operator against the reference; returns how many ran.

    Args:
        operators: None for all that the backend has.

    Raises:
        ValueError: the catalogue has no such operator.
        WrongAnswer: a result is outside the operator's tolerance.
        DeviceFailed: the device refuses a kernel or a buffer.
    """
    specs = [catalog.spec(name) for name in operators or backend.operators]
    for spec in specs:
        _compare(backend, spec, next(spec.cases(rng())))
    return len(specs)


def warm(backend: OpenCLBackend, batches: Iterable[int]) -> None:
    """Build the products' kernels for the given rows of x, so that no request waits for it.

    Raises:
        DeviceFailed: the device refuses a kernel or a buffer.
    """
    weights = {
        "gemm_f32": dense(np.zeros((WARM_SIZE, WARM_SIZE), np.float32)),
        "gemm_i8": _codes(),
        "spmm_csr": _nothing_stored(),
    }
    for name, weight in weights.items():
        attributes = {"batch_first": True} if name == "spmm_csr" else {}
        for rows in batches:
            x = dense(np.zeros((rows, WARM_SIZE), np.float32))
            case = Case(f"warm_{rows}", {"x": x, "weight": weight}, attributes)
            run(backend, catalog.spec(name), case)


def matches(spec: OperatorSpec, made: Tensor, expected: Tensor) -> bool:
    """Whether a result is within the operator's tolerance of the reference's."""
    return np.allclose(
        made.values,
        expected.values,
        rtol=spec.tolerance.rtol,
        atol=spec.tolerance.atol,
        equal_nan=True,
    )


def rng() -> np.random.Generator:
    """What cases are drawn from: the same every time."""
    return np.random.default_rng(SEED)


def _compare(backend: OpenCLBackend, spec: OperatorSpec, case: Case) -> None:
    wanted = ReferenceBackend().run(spec, case.inputs, case.attributes)
    made = run(backend, spec, case)
    for port, expected in wanted.items():
        if not matches(spec, made[port], expected):
            raise WrongAnswer(
                f"{spec.name} on {backend.device.name} ({backend.device.driver}) gives "
                f"{_brief(made[port])} for {port} of case {case.name}, not {_brief(expected)}"
            )


def run(backend: OpenCLBackend, spec: OperatorSpec, case: Case) -> Tensors:
    """Run a case and bring its outputs back; keeps nothing. Raises DeviceFailed."""
    residents = {}
    outputs = {}
    try:
        for port, tensor in case.inputs.items():
            residents[port] = backend.upload(tensor)
        outputs = backend.run(spec, residents, case.attributes)
        return {port: backend.download(output) for port, output in outputs.items()}
    finally:
        for resident in (*residents.values(), *outputs.values()):
            backend.release(resident)


def _brief(tensor: Tensor) -> str:
    """The first few values."""
    return np.array2string(tensor.values.reshape(-1)[:4], precision=7)


def _codes() -> Tensor:
    parts: dict[str, Array] = {
        "codes": np.zeros((WARM_SIZE, WARM_SIZE), np.int8),
        "scale": np.ones((WARM_SIZE, 1), np.float32),
    }
    return Tensor(Layout.INT8_CHANNEL, Dtype.F32, (WARM_SIZE, WARM_SIZE), parts)


def _nothing_stored() -> Tensor:
    parts: dict[str, Array] = {
        "indptr": np.zeros(WARM_SIZE + 1, np.int32),
        "indices": np.zeros(0, np.int32),
        "values": np.zeros(0, np.float32),
    }
    return Tensor(Layout.CSR, Dtype.F32, (WARM_SIZE, WARM_SIZE), parts)
