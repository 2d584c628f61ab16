"""numpy arrays to inference requests and back, raw contents only."""

from collections.abc import Iterable, Mapping

import numpy as np

from shared.contracts.errors import InvalidTensor
from shared.contracts.wire import inference
from shared.tensors import dtypes
from shared.tensors.dtypes import Array, Dtype

NAMES = {
    Dtype.BOOL: "BOOL",
    Dtype.U8: "UINT8",
    Dtype.U16: "UINT16",
    Dtype.U32: "UINT32",
    Dtype.U64: "UINT64",
    Dtype.I8: "INT8",
    Dtype.I16: "INT16",
    Dtype.I32: "INT32",
    Dtype.I64: "INT64",
    Dtype.F16: "FP16",
    Dtype.BF16: "BF16",
    Dtype.F32: "FP32",
    Dtype.F64: "FP64",
}
DTYPES = {name: dtype for dtype, name in NAMES.items()}


def request(
    model: str, version: str, inputs: Mapping[str, Array], outputs: Iterable[str]
) -> inference.ModelInferRequest:
    """Build a request; each array is sent in its own datatype.

    Raises:
        InvalidTensor: an array holds what the protocol has no datatype for.
    """
    message = inference.ModelInferRequest(model_name=model, model_version=version)
    for name, array in inputs.items():
        held = np.asarray(array, order="C")
        try:
            datatype = NAMES[dtypes.of(held)]
        except ValueError as error:
            raise InvalidTensor(f"input {name!r}: {error}") from None
        message.inputs.add(name=name, datatype=datatype, shape=held.shape)
        message.raw_input_contents.append(held.tobytes())
    for name in outputs:
        message.outputs.add(name=name)
    return message


def outputs(message: inference.ModelInferResponse) -> dict[str, Array]:
    """The outputs of a response as read-only arrays; BF16 as u16 bit patterns.

    Raises:
        InvalidTensor: bytes and shape do not fit.
    """
    found = {}
    for tensor, raw in zip(message.outputs, message.raw_output_contents, strict=True):
        try:
            held = np.frombuffer(raw, DTYPES[tensor.datatype].numpy)
            found[tensor.name] = held.reshape(tuple(tensor.shape))
        except (KeyError, ValueError) as error:
            raise InvalidTensor(f"output {tensor.name!r}: {error}") from None
    return found
