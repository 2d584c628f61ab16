"""Arrays that nobody should pass: the right result, or an error that names value and limit."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import sparse

from shared.sparse import block, compressed, convert, nm, order, sell
from shared.sparse.compressed import Axis, Compressed
from shared.tensors import requirements
from shared.tensors.dtypes import Array, Dtype
from shared.tensors.layouts import SPARSE, Layout, Tensor, dense
from tests.numerics import sparse_samples as samples

MATRIX = samples.random(20, 30, 0.3)


def csr(indptr: list[int], indices: list[int], *, cols: int = 4) -> Compressed:
    starts, places = np.array(indptr, np.int32), np.array(indices, np.int32)
    return Compressed(
        Axis.ROWS, (len(indptr) - 1, cols), starts, places, np.ones(places.size, np.float32)
    )


BROKEN = {
    "indptr decreases at row 1: 2 to 1": csr([0, 2, 1, 3], [0, 1, 2]),
    "indptr must run from 0 to 2, got 0 to 3": csr([0, 1, 3], [0, 1]),
    r"indices\[1\] is 4, the matrix has 4 columns": csr([0, 2], [0, 4]),
    r"indices\[0\] is -1, the matrix has 4 columns": csr([0, 1], [-1]),
    "u16 indices number at most 65536 columns, the matrix has 65537": Compressed(
        Axis.ROWS,
        (1, 65537),
        np.array([0, 1], np.int32),
        np.array([0], np.uint16),
        np.ones(1, np.float32),
    ),
}
DOORS: dict[str, Callable[[Compressed], object]] = {
    "to_tensor": compressed.to_tensor,
    "canonical": compressed.canonical,
    "block": block.pack,
    "sell": sell.pack,
    "nm": nm.pack,
    "convert": lambda held: convert.to_dense(as_tensor(held)),
}


def as_tensor(held: Compressed) -> Tensor:
    """Unchecked, as a careless caller would build it."""
    parts: dict[str, Array] = {
        "indptr": held.indptr,
        "indices": held.indices,
        "values": held.values,
    }
    return Tensor(Layout.CSR, Dtype.F32, held.shape, parts)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("message", BROKEN)
def test_parts_that_do_not_fit_are_named_at_every_door(message: str, door: str) -> None:
    with pytest.raises(ValueError, match=message):
        DOORS[door](BROKEN[message])


@pytest.mark.parametrize(
    "odd",
    [
        MATRIX.astype(">f4"),
        np.asfortranarray(MATRIX),
        np.repeat(MATRIX, 2, axis=1)[:, ::2],
        np.pad(MATRIX, 1)[1:-1, 1:-1],
        MATRIX[::-1, ::-1][::-1, ::-1],
    ],
    ids=["big endian", "column order", "strided", "window", "reversed twice"],
)
@pytest.mark.parametrize("axis", Axis)
def test_order_of_bytes_and_strides_do_not_matter(odd: Array, axis: Axis) -> None:
    held = compressed.compress(odd.view(np.ndarray), axis=axis)

    assert held.values.dtype == np.dtype("<f4")
    np.testing.assert_array_equal(compressed.expand(held), MATRIX)


@pytest.mark.parametrize("layout", sorted(SPARSE))
def test_parts_with_strides_are_read_right(layout: Layout) -> None:
    held = convert.to_layout(dense(MATRIX), layout)
    strided = {name: np.repeat(part, 2, axis=-1)[..., ::2] for name, part in held.parts.items()}

    odd = Tensor(layout, held.dtype, held.shape, strided)

    np.testing.assert_array_equal(convert.to_dense(odd), MATRIX)


@pytest.mark.parametrize("layout", sorted(SPARSE))
def test_parts_that_cannot_be_written_are_read(layout: Layout) -> None:
    held = convert.to_layout(dense(MATRIX), layout)
    for part in held.parts.values():
        part.flags.writeable = False

    for other in sorted(SPARSE):
        np.testing.assert_array_equal(convert.to_dense(convert.to_layout(held, other)), MATRIX)


@pytest.mark.parametrize("layout", sorted(SPARSE))
def test_big_endian_parts_are_refused_by_type(layout: Layout) -> None:
    held = convert.to_layout(dense(MATRIX), layout)
    swapped = held.parts["values"].astype(">f4")

    with pytest.raises(ValueError, match="no element type for numpy >f4"):
        convert.to_dense(Tensor(layout, held.dtype, held.shape, {**held.parts, "values": swapped}))


def test_big_endian_and_strided_arrays_of_scipy_become_ours() -> None:
    theirs = sparse.csr_array(MATRIX)
    theirs.data = np.repeat(theirs.data.astype(">f4"), 2)[::2]
    theirs.indices = np.repeat(theirs.indices.astype(">i8"), 2)[::2]

    ours = compressed.from_scipy(theirs)

    assert ours.indices.dtype == np.dtype("<i4")
    np.testing.assert_array_equal(compressed.expand(ours), MATRIX)


def test_spare_room_of_scipy_is_left_behind() -> None:
    theirs = sparse.csr_array(MATRIX)
    theirs.data = np.append(theirs.data, np.float32(9))
    theirs.indices = np.append(theirs.indices, np.int32(0))

    ours = compressed.from_scipy(theirs)

    assert ours.nonzeros == np.count_nonzero(MATRIX)


def theirs_with(**parts: Array) -> "sparse.csr_array[np.float32]":
    held = sparse.csr_array(np.eye(3, dtype=np.float32))
    for name, part in parts.items():
        setattr(held, name, part)
    return held


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (theirs_with(indices=np.array([0, 3, 1])), r"indices\[1\] is 3, the matrix has 3 columns"),
        (theirs_with(indptr=np.array([0, 2, 1, 3])), "indptr decreases at row 1: 2 to 1"),
        (theirs_with(indptr=np.array([0, 1, 2, 4])), "indptr claims 4 elements, a part holds 3"),
        (
            theirs_with(indices=np.array([0, 2**32, 1])),
            "to fit int32, got 4294967296",
        ),
        (theirs_with(indices=np.array([0, -1, 1])), "0..2147483647 to fit int32, got -1"),
        (theirs_with(data=np.ones(3, np.int8)), "values must be float32 or float16, got int8"),
        (theirs_with(data=np.ones(3, np.complex64)), "float32 or float16, got complex64"),
        (sparse.csr_array(np.ones(3, np.float32)), r"two dimensions, got shape \(3,\)"),
        (sparse.coo_array(np.eye(3, dtype=np.float32)), r"expected csr or csc, got coo; use its"),
    ],
)
def test_broken_matrices_of_scipy_are_refused_before_anything_reads_them(
    theirs: "sparse.csr_array[np.float32]", message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compressed.from_scipy(theirs)


def test_blocks_of_scipy_are_judged_too() -> None:
    theirs = sparse.bsr_array(np.eye(4, dtype=np.float32), blocksize=(2, 2))
    theirs.indices = np.array([0, 2], np.int32)

    with pytest.raises(ValueError, match=r"indices\[1\] is 2, the matrix has 2 columns of blocks"):
        block.from_scipy(theirs)
    with pytest.raises(ValueError, match="expected bsr, got csr"):
        block.from_scipy(sparse.csr_array(np.eye(2, dtype=np.float32)))


def test_more_elements_than_int32_counts_are_refused_without_holding_them() -> None:
    count = 2**31
    theirs = sparse.csr_array((1, 5), dtype=np.float32)
    theirs.indptr = np.array([0, count])
    theirs.indices = np.broadcast_to(np.int32(0), (count,))  # one number, seen 2^31 times
    theirs.data = np.broadcast_to(np.float32(1), (count,))

    with pytest.raises(ValueError, match="at most 2147483647 elements can be stored, got 21474836"):
        compressed.from_scipy(theirs)
    with pytest.raises(ValueError, match="at most 2147483647 elements can be stored, got 21474836"):
        order.pointers(np.array([2**30, 2**30]))


def test_more_elements_than_the_limit_are_refused_wherever_they_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = samples.csr(np.ones((4, 4), np.float32))
    monkeypatch.setattr(requirements, "MAX_INDEX", 15)

    with pytest.raises(ValueError, match="at most 15 elements can be stored, got 16; split the"):
        compressed.compress(np.ones((4, 4), np.float32))
    with pytest.raises(ValueError, match="at most 15 elements can be stored, got 256"):
        sell.pack(held)  # 64 lanes of 4: padding counts
    with pytest.raises(ValueError, match=r"4 blocks of \(3, 3\) hold 36 values, over 15; use sm"):
        block.pack(held, block=(3, 3))


def test_dimensions_beyond_int32_are_refused() -> None:
    far = csr([0, 1], [0], cols=2**31)

    with pytest.raises(ValueError, match=r"two dimensions of 0..2147483647, got shape \(1, 2147"):
        compressed.to_tensor(far)


def test_a_matrix_as_wide_as_int32_allows_is_converted_without_its_zeros() -> None:
    far = csr([0, 2, 2], [2**31 - 2, 5], cols=2**31 - 1)

    for layout in (Layout.SELL, Layout.BLOCK):
        again = convert.to_csr(convert.to_layout(as_tensor(far), layout))
        assert again.indices.tolist() == [5, 2**31 - 2]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda held: block.pack(held, block=(0, 4)), r"at least 1, got \(0, 4\)"),
        (
            lambda held: sell.pack(held, sigma=100),
            "a positive multiple of 64, got 100",
        ),
        (lambda held: sell.pack(held, sigma=0), "positive multiple of 64, got 0"),
        (lambda held: nm.pack(held, pattern=(5, 4)), "1 <= n <= m <= 16, got 5 of 4"),
        (lambda held: nm.pack(held, pattern=(2, 17)), "1 <= n <= m <= 16, got 2 of 17"),
        (lambda held: nm.pack(held, pattern=(0, 4)), "1 <= n <= m <= 16, got 0 of 4"),
    ],
)
def test_forms_that_do_not_exist_are_refused(
    call: Callable[[Compressed], Tensor], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        call(samples.csr(MATRIX))


def test_other_element_types_are_refused_with_their_name() -> None:
    for kind in (np.float64, np.int32, np.bool_, np.complex64):
        with pytest.raises(ValueError, match=f"values must be float32, got {np.dtype(kind)}"):
            compressed.compress(MATRIX.astype(kind))


def test_codes_cannot_be_turned_away_from_their_scales() -> None:
    held = samples.csr(MATRIX)
    codes = Compressed(
        Axis.ROWS,
        held.shape,
        held.indptr,
        held.indices,
        np.ones(held.nonzeros, np.int8),
        np.ones((20, 1), np.float32),
    )

    with pytest.raises(ValueError, match=r"use widened\(matrix\) first"):
        compressed.turned(codes, Axis.COLUMNS)
