"""What each sparse layout means, on matrices small enough to read."""

import numpy as np
import pytest

from shared.sparse import triplets
from shared.tensors import check
from shared.tensors.dtypes import Array, Dtype
from shared.tensors.layouts import Layout, Tensor, dense


def tensor(layout: Layout, shape: tuple[int, int], **parts: Array) -> Tensor:
    dtype = Dtype.I8 if "scale" in parts else Dtype.F32
    return check.tensor(Tensor(layout, dtype, shape, parts))


def i32(*numbers: int) -> Array:
    return np.array(numbers, np.int32)


def f32(*numbers: float) -> Array:
    return np.array(numbers, np.float32)


# Rows of the examples:   [0 5 0 6]   [0 0 0 0]   [7 0 0 8]
WANTED = np.array([[0, 5, 0, 6], [0, 0, 0, 0], [7, 0, 0, 8]], np.float64)
CSR = tensor(
    Layout.CSR, (3, 4), indptr=i32(0, 2, 2, 4), indices=i32(1, 3, 0, 3), values=f32(5, 6, 7, 8)
)
CSC = tensor(
    Layout.CSC,
    (3, 4),
    indptr=i32(0, 1, 2, 2, 4),
    indices=np.array([2, 0, 0, 2], np.uint16),
    values=f32(7, 5, 6, 8),
)
# Blocks of 2 x 3; of the right ones only column 3 lies inside, of the lower ones only row 2.
BLOCK = tensor(
    Layout.BLOCK,
    (3, 4),
    indptr=i32(0, 2, 4),
    indices=i32(0, 1, 0, 1),
    values=np.stack(
        [
            f32(0, 5, 0, 0, 0, 0),
            f32(6, 99, 99, 0, 99, 99),
            f32(7, 0, 0, 99, 99, 99),
            f32(8, 99, 99, 99, 99, 99),
        ]
    ).reshape(4, 2, 3),
)
SELL_VALUES = np.zeros(128, np.float32)
SELL_VALUES[[0, 64, 1, 65]] = [8, 7, 5, 6]  # lane 0 is row 2, lane 1 is row 0
SELL_INDICES = np.zeros(128, np.int32)
SELL_INDICES[[0, 64, 1, 65]] = [3, 0, 1, 3]
SELL = tensor(
    Layout.SELL,
    (3, 4),
    starts=i32(0, 128),
    lengths=i32(2, 2, 0),
    order=i32(2, 0, 1),
    indices=SELL_INDICES,
    values=SELL_VALUES,
)
BITMASK = tensor(
    Layout.BITMASK,
    (3, 4),
    words=np.array([[0b1010], [0], [0b1001]], np.uint32),
    starts=i32(0, 2, 2, 4),
    values=f32(5, 6, 7, 8),
)
# One of two: row 0 keeps place 1 of both groups, row 2 keeps place 0, then place 1.
NM = tensor(
    Layout.NM,
    (3, 4),
    pattern=i32(1, 2),
    positions=np.array([[0x11], [0x00], [0x10]], np.uint8),
    values=f32(5, 6, 0, 0, 7, 8).reshape(3, 2),
)


@pytest.mark.parametrize("held", [CSR, CSC, BLOCK, SELL, BITMASK, NM], ids=lambda t: str(t.layout))
def test_every_layout_stores_the_same_matrix(held: Tensor) -> None:
    np.testing.assert_array_equal(triplets.matrix(held).toarray(), WANTED)


@pytest.mark.parametrize("held", [CSR, CSC, BLOCK, SELL, BITMASK, NM], ids=lambda t: str(t.layout))
def test_places_find_the_stored_values(held: Tensor) -> None:
    found = triplets.of(held)

    np.testing.assert_array_equal(held.parts["values"].reshape(-1)[found.at], found.values)


def test_scale_of_csc_belongs_to_columns() -> None:
    held = tensor(
        Layout.CSC,
        (2, 2),
        indptr=i32(0, 1, 3),
        indices=i32(0, 0, 1),
        values=np.array([2, 3, -4], np.int8),
        scale=f32(0.5, 10).reshape(2, 1),
    )

    # Column 0 holds 2 · 0.5, column 1 holds 3 · 10 and -4 · 10.
    np.testing.assert_array_equal(triplets.matrix(held).toarray(), [[1, 30], [0, -40]])


def test_scale_of_sell_belongs_to_rows_in_their_own_order() -> None:
    parts = {**SELL.parts, "values": SELL_VALUES.astype(np.int8), "scale": f32(1, 1, 2)[:, None]}

    held = check.tensor(Tensor(Layout.SELL, Dtype.I8, (3, 4), parts))

    np.testing.assert_array_equal(triplets.matrix(held).toarray()[2], [14, 0, 0, 16])


def test_product_ignores_what_x_holds_opposite_to_nothing() -> None:
    x = np.array([[1], [2], [np.nan], [3]], np.float32)  # nothing is stored in column 2

    # Row 0: 5 · 2 + 6 · 3 = 28; row 2: 7 · 1 + 8 · 3 = 31.
    np.testing.assert_array_equal(triplets.product(CSR, x), [[28], [0], [31]])


def test_dense_tensor_has_no_stored_elements() -> None:
    with pytest.raises(ValueError, match="a dense tensor has no stored elements"):
        triplets.of(dense(f32(1.0)))
