"""Protocol buffers to tensors: every datatype, raw and typed, and what does not fit."""

import numpy as np
import pytest

from services.gateway import translate
from services.gateway.translate import RawTensor
from shared.contracts.errors import InvalidTensor, UnsupportedDatatype
from shared.contracts.wire import inference
from shared.tensors.dtypes import Dtype

FIELDS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


def one(datatype: str, *shape: int) -> inference.ModelInferRequest:
    message = inference.ModelInferRequest(model_name="m")
    message.inputs.add(name="x", datatype=datatype, shape=shape)
    return message


def extremes(dtype: Dtype) -> np.ndarray:
    """Smallest, zero, one and largest of an element type."""
    held = dtype.numpy
    if dtype is Dtype.BOOL:
        return np.array([False, True, True, False])
    limits = np.iinfo(held.name) if held.kind in "iu" else np.finfo(held.name)
    return np.array([limits.min, 0, 1, limits.max], held)


@pytest.mark.parametrize("datatype", translate.DATATYPES)
def test_raw_contents_of_every_datatype_keep_their_bytes(datatype: str) -> None:
    dtype = translate.DATATYPES[datatype]
    values = extremes(dtype)
    message = one(datatype, 2, 2)
    message.raw_input_contents.append(values.tobytes())

    (tensor,) = translate.inputs(message)

    assert (tensor.dtype, tensor.shape) == (dtype, (2, 2))
    assert np.array_equal(tensor.array, values)


@pytest.mark.parametrize("datatype", FIELDS)
def test_typed_contents_of_every_datatype_give_the_same_bytes_as_raw(datatype: str) -> None:
    values = extremes(translate.DATATYPES[datatype])
    message = one(datatype, 4)
    getattr(message.inputs[0].contents, FIELDS[datatype]).extend(values.tolist())

    (tensor,) = translate.inputs(message)

    assert bytes(tensor.body) == values.tobytes()


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_halves_travel_raw_only(datatype: str) -> None:
    message = one(datatype, 1)
    message.inputs[0].contents.fp32_contents.append(1.0)

    with pytest.raises(InvalidTensor, match="raw_input_contents only"):
        translate.inputs(message)


def test_bytes_are_refused() -> None:
    message = one("BYTES", 1)
    message.inputs[0].contents.bytes_contents.append(b"text")

    with pytest.raises(UnsupportedDatatype, match="BYTES"):
        translate.inputs(message)


@pytest.mark.parametrize(("datatype", "value"), [("INT8", 128), ("INT8", -129), ("INT16", 40_000)])
def test_integer_outside_its_width_is_refused_with_its_index(datatype: str, value: int) -> None:
    message = one(datatype, 2)
    message.inputs[0].contents.int_contents.extend([0, value])

    with pytest.raises(InvalidTensor, match=rf"'x'\[1\] is {value}, outside {datatype}"):
        translate.inputs(message)


def test_unsigned_integer_outside_its_width_is_refused() -> None:
    message = one("UINT8", 1)
    message.inputs[0].contents.uint_contents.append(256)

    with pytest.raises(InvalidTensor, match="256, outside UINT8"):
        translate.inputs(message)


def test_missing_contents_are_refused_with_the_expected_count() -> None:
    with pytest.raises(InvalidTensor, match="has 6 elements, got 0"):
        translate.inputs(one("FP32", 2, 3))


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [
        (Dtype.F16, np.array([1, np.inf], np.float16)),
        (Dtype.F32, np.array([1, np.nan], np.float32)),
        (Dtype.F64, np.array([1, -np.inf], np.float64)),
        (Dtype.BF16, np.array([0x3F80, 0x7FC0], np.uint16)),  # 1.0, NaN
        (Dtype.BF16, np.array([0x7F7F, 0xFF80], np.uint16)),  # the largest, -infinity
    ],
)
def test_first_bad_value_is_found_in_every_float(dtype: Dtype, bits: np.ndarray) -> None:
    assert translate.first_bad(RawTensor("x", dtype, (2,), bits.tobytes())) == 1


def test_integers_have_no_bad_values() -> None:
    assert translate.first_bad(RawTensor("x", Dtype.I32, (1,), b"\xff\xff\xff\xff")) is None
