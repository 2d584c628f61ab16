"""How sparse weights lie on the device: a column-wise one by rows, an N:M one in runs of eight."""

import numpy as np

from services.gpu_worker import laid_out
from shared.tensors.dtypes import Array, Dtype
from shared.tensors.layouts import Layout, Tensor


def csc() -> Tensor:
    """(3, 2): column 0 holds rows 2, 0, 2 in this order, column 1 row 0."""
    parts: dict[str, Array] = {
        "indptr": np.array([0, 3, 4], np.int32),
        "indices": np.array([2, 0, 2, 0], np.uint16),
        "values": np.array([1.0, 2.0, 3.0, 4.0], np.float32),
    }
    return Tensor(Layout.CSC, Dtype.F32, (3, 2), parts)


def nm() -> Tensor:
    """(1, 6), 1 of 2: kept places 1, 0, 1 of their groups."""
    parts: dict[str, Array] = {
        "pattern": np.array([1, 2], np.int32),
        "positions": np.array([[0x01, 0x01]], np.uint8),
        "values": np.array([[5.0, 6.0, 7.0]], np.float16),
    }
    return Tensor(Layout.NM, Dtype.F16, (1, 6), parts)


def assert_comes_back(tensor: Tensor) -> None:
    back = laid_out.host_parts(laid_out.arrays(tensor), tensor.type)

    assert back.keys() == tensor.parts.keys()
    for name, part in tensor.parts.items():
        np.testing.assert_array_equal(back[name], part)
        assert (back[name].dtype, back[name].shape) == (part.dtype, part.shape)


def test_columns_are_put_in_order_of_rows_and_repeated_places_keep_theirs() -> None:
    made = laid_out.arrays(csc())

    assert made["row_ptr"].tolist() == [0, 2, 2, 4]
    assert made["columns"].tolist() == [0, 1, 0, 0]
    assert made["values"].tolist() == [2.0, 4.0, 1.0, 3.0]  # 1 before 3, as they came


def test_rows_of_a_pattern_are_filled_up_to_whole_runs() -> None:
    made = laid_out.arrays(nm())

    assert made["pattern"].shape == (1, 2)  # a launch reads n of m off the shape
    assert made["positions"].tolist() == [[0x0101]]
    assert made["values"].tolist() == [[[5.0, 6.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0]]]


def test_both_come_back_as_they_went() -> None:
    assert_comes_back(csc())
    assert_comes_back(nm())
