"""Protocol buffers to tensors and back: datatypes, raw contents, typed contents."""

from collections.abc import Iterable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np

from shared.contracts.errors import InvalidMessage, InvalidTensor, UnsupportedDatatype
from shared.contracts.wire import inference
from shared.tensors.dtypes import Array, Dtype

DATATYPES = {
    "BOOL": Dtype.BOOL,
    "UINT8": Dtype.U8,
    "UINT16": Dtype.U16,
    "UINT32": Dtype.U32,
    "UINT64": Dtype.U64,
    "INT8": Dtype.I8,
    "INT16": Dtype.I16,
    "INT32": Dtype.I32,
    "INT64": Dtype.I64,
    "FP16": Dtype.F16,
    "BF16": Dtype.BF16,
    "FP32": Dtype.F32,
    "FP64": Dtype.F64,
}
NAMES = {dtype: name for name, dtype in DATATYPES.items()}
MAX_RANK = 16
MICRO = 1e-6  # timeouts travel in microseconds
_FIELDS = {
    Dtype.BOOL: "bool_contents",
    Dtype.U8: "uint_contents",
    Dtype.U16: "uint_contents",
    Dtype.U32: "uint_contents",
    Dtype.U64: "uint64_contents",
    Dtype.I8: "int_contents",
    Dtype.I16: "int_contents",
    Dtype.I32: "int_contents",
    Dtype.I64: "int64_contents",
    Dtype.F32: "fp32_contents",
    Dtype.F64: "fp64_contents",
}


class RawTensor(NamedTuple):
    """A dense tensor as it travels: row-major, little endian."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    body: bytes | memoryview

    @property
    def array(self) -> Array:
        """The elements, flat and read-only; BF16 as u16 bit patterns."""
        return np.frombuffer(self.body, self.dtype.numpy)


def datatype(name: str) -> Dtype:
    """The element type that the protocol calls `name`.

    Raises:
        UnsupportedDatatype: BYTES.
        InvalidTensor: no datatype of the protocol.
    """
    if name == "BYTES":
        raise UnsupportedDatatype(
            "datatype BYTES holds strings, and every network here takes numbers"
        )
    try:
        return DATATYPES[name]
    except KeyError:
        raise InvalidTensor(f"no datatype {name[:40]!r}; known: {', '.join(DATATYPES)}") from None


def inputs(request: inference.ModelInferRequest) -> list[RawTensor]:
    """Every input of a request, checked against itself: datatype, shape, bytes, no duplicates.

    Raises:
        InvalidTensor: an input does not fit its own description, or raw and typed contents mix.
        UnsupportedDatatype: an input holds BYTES.
    """
    raw = request.raw_input_contents
    if raw and any(tensor.HasField("contents") for tensor in request.inputs):
        raise InvalidTensor("raw_input_contents and typed contents exclude each other; send one")
    if raw and len(raw) != len(request.inputs):
        raise InvalidTensor(f"{len(request.inputs)} inputs, but {len(raw)} raw_input_contents")
    bodies: Iterable[bytes | None] = raw or [None] * len(request.inputs)
    found = [_input(tensor, body) for tensor, body in zip(request.inputs, bodies, strict=True)]
    _require_unique("input", [tensor.name for tensor in found])
    return found


def requested(request: inference.ModelInferRequest) -> tuple[str, ...]:
    """Names of the outputs asked for; empty means all.

    Raises:
        InvalidTensor: a name comes twice, or asks for a delivery that is not served.
    """
    for output in request.outputs:
        for parameter in ("shared_memory_region", "classification"):
            if parameter in output.parameters:
                raise InvalidTensor(f"output {output.name[:80]!r}: {parameter} is not served")
    names = tuple(output.name for output in request.outputs)
    _require_unique("output", names)
    return names


def number(request: inference.ModelInferRequest, name: str) -> int:
    """A whole parameter of a request; 0 when it is absent.

    Raises:
        InvalidMessage: it is no whole number, or negative.
    """
    if name not in request.parameters:
        return 0
    parameter = request.parameters[name]
    kind = parameter.WhichOneof("parameter_choice")
    value = parameter.uint64_param if kind == "uint64_param" else parameter.int64_param
    if kind not in ("int64_param", "uint64_param") or value < 0:
        raise InvalidMessage(f"parameter {name!r} must be a whole number from 0, got {kind}")
    return value


def first_bad(tensor: RawTensor) -> int | None:
    """Index of the first NaN or infinity in row-major order; None when all values are finite."""
    if tensor.dtype is Dtype.BF16:
        exponents = np.frombuffer(tensor.body, np.uint16) & np.uint16(0x7F80)
        finite = exponents != 0x7F80  # all ones
    elif tensor.dtype in (Dtype.F16, Dtype.F32, Dtype.F64):
        finite = np.isfinite(tensor.array)
    else:
        return None
    first = finite.tobytes().find(False)  # quicker than `all`, which starts a reduction
    return None if first < 0 else first


def _input(tensor: "inference.ModelInferRequest.InferInputTensor", raw: bytes | None) -> RawTensor:
    if "shared_memory_region" in tensor.parameters:
        raise InvalidTensor(f"input {tensor.name[:80]!r}: shared_memory_region is not served")
    dtype, shape = datatype(tensor.datatype), tuple(tensor.shape)
    _require_shape(tensor.name, shape)
    body = _typed(tensor, dtype, shape) if raw is None else raw
    expected = prod(shape) * dtype.itemsize
    if len(body) != expected:
        raise InvalidTensor(
            f"input {tensor.name[:80]!r} of shape {list(shape)} and {tensor.datatype} is "
            f"{expected} bytes, got {len(body)}"
        )
    return RawTensor(tensor.name, dtype, shape, body)


def _require_shape(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) > MAX_RANK:
        raise InvalidTensor(f"input {name[:80]!r} has {len(shape)} dimensions, at most {MAX_RANK}")
    if any(size < 1 for size in shape):
        raise InvalidTensor(f"input {name[:80]!r} has shape {list(shape)}; sizes start at 1")


def _require_unique(what: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidTensor(f"{what} {name[:80]!r} comes twice")
        seen.add(name)


def _typed(
    tensor: "inference.ModelInferRequest.InferInputTensor", dtype: Dtype, shape: tuple[int, ...]
) -> bytes:
    """Row-major bytes of typed contents."""
    if dtype not in _FIELDS:
        raise InvalidTensor(
            f"input {tensor.name[:80]!r}: {tensor.datatype} travels in raw_input_contents only"
        )
    used = [field.name for field, _ in tensor.contents.ListFields()]
    if used not in ([], [_FIELDS[dtype]]):
        raise InvalidTensor(
            f"input {tensor.name[:80]!r} is {tensor.datatype}, so its values belong in "
            f"{_FIELDS[dtype]}, not in {', '.join(used)}"
        )
    values = getattr(tensor.contents, _FIELDS[dtype])
    if len(values) != prod(shape):
        raise InvalidTensor(
            f"input {tensor.name[:80]!r} of shape {list(shape)} has {prod(shape)} elements, "
            f"got {len(values)}"
        )
    return _narrowed(tensor.name, values, dtype).tobytes()


def _narrowed(name: str, values: Sequence[int] | Sequence[float], dtype: Dtype) -> Array:
    """Elements in their own width; integers must fit into it."""
    if dtype.numpy.kind not in "iu" or dtype.itemsize >= 4:
        return np.array(values, dtype.numpy)
    wide, bounds = np.array(values, np.int64), np.iinfo(dtype.numpy.name)
    outside = (wide < bounds.min) | (wide > bounds.max)
    if outside.any():
        at = int(np.argmax(outside))
        raise InvalidTensor(f"input {name[:80]!r}[{at}] is {wide[at]}, outside {NAMES[dtype]}")
    return wide.astype(dtype.numpy)
