"""Bytes that nobody meant to write: the container answers with ValueError or a tensor."""

import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.quantization import affine
from shared.quantization.scheme import INT8_PER_CHANNEL
from shared.sparse import compressed
from shared.tensors import container
from shared.tensors.layouts import dense

MATRIX = np.array([[0, 0, 1, 0], [0, 0, 0, 0], [2, 0, 0, 3]], np.float32)
X = dense(MATRIX)
WEIGHT = compressed.to_tensor(compressed.compress(MATRIX))
CODES = affine.quantize(MATRIX, INT8_PER_CHANNEL)
VALID = container.pack({"x": X, "weight": WEIGHT, "codes": CODES}, {"message": "{}"})


@given(st.integers(0, len(VALID) - 1))
def test_truncated_bytes_are_refused(length: int) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of the messages above
        container.unpack(VALID[:length])


def refused_or_read(data: bytes) -> None:
    """The only exception that bytes from outside may cause."""
    try:
        container.unpack(data)
    except ValueError:
        return


@given(st.binary(max_size=200))
def test_garbage_causes_nothing_but_value_error(data: bytes) -> None:
    refused_or_read(data)


@settings(max_examples=400)
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=8))
def test_flipped_bytes_cause_nothing_but_value_error(flips: list[tuple[int, int]]) -> None:
    data = bytearray(VALID)
    for place, value in flips:
        data[place] = value

    refused_or_read(bytes(data))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**63) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BOOL", "BF16", "F4"]) | JSON,
        "shape": st.lists(st.integers(0, 3), max_size=3) | JSON,
        "data_offsets": st.lists(st.integers(0, 64), min_size=2, max_size=2) | JSON,
    }
)


@settings(max_examples=400)
@given(st.dictionaries(st.text(max_size=4), FIELDS | JSON, max_size=3), st.binary(max_size=64))
def test_strange_headers_cause_nothing_but_value_error(
    content: dict[str, object], body: bytes
) -> None:
    text = json.dumps(content).encode()

    refused_or_read(struct.pack("<Q", len(text)) + text + body)


@settings(max_examples=200)
@given(JSON)
def test_strange_layouts_cause_nothing_but_value_error(entry: object) -> None:
    parts = {f"w.{part}": array for part, array in WEIGHT.parts.items()}
    layouts = json.dumps({"w": {"layout": "csr", "shape": [3, 4], "dtype": entry}, "v": entry})

    refused_or_read(safetensors.numpy.save(parts, {"layouts": layouts}))
