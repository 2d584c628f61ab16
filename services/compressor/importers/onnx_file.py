"""Read an ONNX file from bytes, under limits, refusing whatever points outside the file.

Runs inside the sandbox alone: a parser of hostile bytes has no business in a service's process.

External data is looked for in every message of the file, wherever a tensor may hide (initialisers,
sparse ones, attributes, subgraphs, functions), because checkers and runtimes have disagreed about
the places: CVE-2024-27318, CVE-2026-27489, CVE-2026-34446.
"""

from collections.abc import Iterator
from math import prod

import numpy as np
import onnx
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto, numpy_helper

from shared.contracts.errors import InvalidNetwork
from shared.network.shapes import MAX_ELEMENTS, MAX_STEPS
from shared.tensors.dtypes import Array

OPSETS = range(7, 29)  # 7 gave Add its broadcasting; 28 is the newest that onnx 1.23 defines
MAX_MESSAGES = 500_000  # protobuf messages in one file; 10,000 nodes need about a fifth of it
MAX_RANK = 8
NUMERIC = {
    TensorProto.FLOAT,
    TensorProto.DOUBLE,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.BOOL,
    TensorProto.INT8,
    TensorProto.INT16,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.UINT8,
    TensorProto.UINT16,
    TensorProto.UINT32,
    TensorProto.UINT64,
}
# numpy has no type of 4 bits: one of 8 holds them.
_NIBBLES: dict[int, type[np.int8 | np.uint8]] = {
    TensorProto.INT4: np.int8,
    TensorProto.UINT4: np.uint8,
}


def decode(data: bytes) -> onnx.ModelProto:
    """Parse and hold against the limits; tensors stay undecoded.

    Raises:
        InvalidNetwork: not ONNX, truncated, too large, an opset out of range, or external data.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise InvalidNetwork(
            f"{len(data)} bytes are not an ONNX file, or a part is cut off"
        ) from None
    _refuse_outside(model)
    if not model.HasField("graph") or not model.graph.output:
        raise InvalidNetwork("the file holds no ONNX graph with an output; is it cut off?")
    if len(model.graph.node) > MAX_STEPS:
        raise InvalidNetwork(f"{len(model.graph.node)} nodes, over the limit of {MAX_STEPS}")
    opset(model)
    return model


def opset(model: onnx.ModelProto) -> int:
    """The version of the default operator set.

    Raises:
        InvalidNetwork: none, or one out of range.
    """
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if len(versions) != 1 or versions[0] not in OPSETS:
        said = ", ".join(map(str, versions)) or "none"
        raise InvalidNetwork(f"opset {said}; {OPSETS.start} to {OPSETS.stop - 1} are read")
    return versions[0]


def array(tensor: TensorProto) -> Array:
    """The values of a tensor of the file.

    Raises:
        InvalidNetwork: the element type is not numeric, or dimensions and bytes disagree.
    """
    name, dims = tensor.name[:80], tuple(tensor.dims)
    if tensor.data_type not in NUMERIC | _NIBBLES.keys():
        raise InvalidNetwork(f"tensor {name!r} has element type {tensor.data_type}, not a number's")
    if len(dims) > MAX_RANK or min(dims, default=0) < 0 or prod(dims) > MAX_ELEMENTS:
        most = f"at most {MAX_RANK} dimensions and {MAX_ELEMENTS} elements"
        raise InvalidNetwork(f"tensor {name!r} claims the shape {dims[:MAX_RANK]}; {most} are read")
    try:
        values: Array = numpy_helper.to_array(tensor)
        if wider := _NIBBLES.get(tensor.data_type):
            held = len(tensor.raw_data) or len(tensor.int32_data)
            if held != -(-prod(dims) // 2):
                raise ValueError(f"{held} bytes of two elements")
            values = values.astype(wider)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidNetwork(f"tensor {name!r} does not fit its shape {dims}: {error}") from None
    if values.shape != dims:
        raise InvalidNetwork(f"tensor {name!r} holds {values.shape}, its shape says {dims}")
    return np.ascontiguousarray(values) if dims else values


def _refuse_outside(model: onnx.ModelProto) -> None:
    for count, message in enumerate(_messages(model)):
        if count >= MAX_MESSAGES:
            raise InvalidNetwork(f"over {MAX_MESSAGES} protobuf messages in one file")
        if not isinstance(message, TensorProto):
            continue
        if message.data_location == TensorProto.EXTERNAL or message.external_data:
            raise InvalidNetwork(
                f"tensor {message.name[:80]!r} is stored outside the file; "
                "export with the weights inside"
            )


def _messages(message: Message) -> Iterator[Message]:
    """A message and all below it; a stack, because depth is the file's choice."""
    stack = [message]
    while stack:
        top = stack.pop()
        yield top
        for field, value in top.ListFields():
            if field.message_type is None:
                continue
            stack.extend([value] if isinstance(value, Message) else value)
