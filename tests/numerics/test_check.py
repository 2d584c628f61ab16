"""What must hold between the parts of a tensor, beyond what the container's tests show."""

from dataclasses import replace

import numpy as np
import pytest

from shared.tensors import check
from shared.tensors.dtypes import Array, Dtype
from shared.tensors.layouts import Layout, Tensor, dense


def spikes(words: list[int], count: int) -> Tensor:
    return Tensor(Layout.SPIKE_BITS, Dtype.F32, (count,), {"words": np.array(words, np.uint32)})


def int4(cols: int, codes: Array, scale: Array) -> Tensor:
    return Tensor(Layout.INT4_GROUP, Dtype.F32, (1, cols), {"codes": codes, "scale": scale})


def stream(cols: int, width: int, groups: int = 1, **changed: Array) -> Tensor:
    """Two rows of codes, all zero."""
    parts: dict[str, Array] = {
        "bits": np.array([width], np.uint8),
        "codes": np.zeros((2, -(-cols * width // 8)), np.uint8),
        "scale": ones(2, groups),
        "zero": np.zeros((2, groups), np.uint8),
    }
    return Tensor(Layout.INT_GROUP, Dtype.F32, (2, cols), {**parts, **changed})


def zeros(*shape: int) -> Array:
    return np.zeros(shape, np.uint8)


def ones(*shape: int) -> Array:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (spikes([0, 0], 32), r"words must have shape \(1,\), got \(2,\)"),
        (spikes([0b1000], 3), "bits above neuron 3 of the last word must be zero"),
        (replace(spikes([0], 3), shape=()), r"at least one dimension, got shape \(\)"),
        (replace(spikes([0], 3), dtype=Dtype.I8), "spikes are read as f32 or bool, got i8"),
        (int4(4, np.zeros((1, 2), np.uint8), ones(1, 3)), "groups that divide 4"),
        (int4(4, np.zeros((1, 3), np.uint8), ones(1, 2)), r"codes must have shape \(1, 2\)"),
        (int4(4, np.zeros((1, 2), np.int8), ones(1, 2)), "codes must be u8, got i8"),
        (stream(4, 9), "codes have 2 to 8 bits, got 9"),
        (stream(4, 1), "codes have 2 to 8 bits, got 1"),
        (stream(4, 3, bits=np.array([3], np.int32)), "bits must be u8, got i32"),
        (stream(4, 3, bits=zeros(2)), r"bits must have shape \(1,\), got \(2,\)"),
        (stream(4, 3, codes=zeros(2, 1)), r"codes must have shape \(2, 2\), got \(2, 1\)"),
        (stream(4, 3, groups=3), "3 groups, which do not divide 4 columns"),
        (stream(4, 3, scale=ones(3, 1)), r"scale must be \(2 or 1, groups\), got \(3, 1\)"),
        (stream(4, 3, scale=-ones(2, 1)), "scales must be positive and finite, smallest is -1"),
        (
            stream(4, 3, zero=zeros(2, 2)),
            r"zero must have shape \(2, 1\) or \(1, 1\), got \(2, 2\)",
        ),
        (stream(4, 3, zero=zeros(2, 1) + 8), "zero must be a code of 3 bits, got 8"),
        (replace(dense(ones(2)), shape=(3,)), r"values must have shape \(3,\), got \(2,\)"),
        (replace(dense(ones(2)), dtype=Dtype.I32), "values must be i32, got f32"),
        (replace(dense(ones(2)), parts={}), r"dense has the parts \['values'\], got \[\]"),
    ],
)
def test_parts_that_do_not_fit_are_named(tensor: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check.tensor(tensor)


@pytest.mark.parametrize(
    "tensor",
    [
        spikes([2**32 - 1], 32),
        spikes([], 0),
        int4(3, np.zeros((1, 2), np.uint8), ones(1, 1)),
        int4(0, np.zeros((1, 0), np.uint8), ones(1, 1)),
        stream(0, 3),
        stream(5, 7, scale=ones(1, 1), zero=zeros(1, 1) + 127),
        stream(6, 2, groups=3, scale=ones(1, 3), zero=zeros(1, 1)),
        dense(np.array(np.nan, np.float32)),
    ],
)
def test_odd_but_sound_tensors_pass(tensor: Tensor) -> None:
    assert check.tensor(tensor) is tensor
