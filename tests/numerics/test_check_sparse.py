"""Every rule between the parts of a sparse tensor, each broken alone."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.sparse import convert, narrow, triplets
from shared.tensors import check
from shared.tensors.dtypes import Array, Dtype
from shared.tensors.layouts import SPARSE, Layout, Tensor, dense, parts_of
from tests.numerics import sparse_samples as samples

MATRIX = samples.random(70, 50, 0.2)
BLOCK = (16, 8)  # 5 rows of blocks, 7 columns of blocks


def sound(layout: Layout, dtype: Dtype = Dtype.F32) -> Tensor:
    return narrow.narrow(convert.to_layout(dense(MATRIX), layout, block=BLOCK), dtype)


def changed(tensor: Tensor, part: str, *at: int, to: float) -> Tensor:
    """One number of one part replaced."""
    array = tensor.parts[part].copy()
    array[at] = to
    return with_part(tensor, part, array)


def with_part(tensor: Tensor, part: str, array: Array) -> Tensor:
    return replace(tensor, parts={**tensor.parts, part: array})


EVERY = [(layout, dtype) for layout in sorted(SPARSE) for dtype in (Dtype.F32, Dtype.F16, Dtype.I8)]


@pytest.mark.parametrize(("layout", "dtype"), EVERY)
def test_what_is_packed_passes_and_says_what_it_stores(layout: Layout, dtype: Dtype) -> None:
    held = sound(layout, dtype)

    assert check.tensor(held) is held
    assert set(held.parts) == set(parts_of(layout, dtype))
    assert held.type.stored_bytes == sum(part.nbytes for part in held.parts.values())
    if layout not in (Layout.BLOCK, Layout.NM):
        assert held.type.nonzeros == np.count_nonzero(MATRIX)
    else:
        assert held.type.nonzeros == held.parts["values"].size


@pytest.mark.parametrize(("layout", "dtype"), EVERY)
def test_part_that_is_absent_or_unknown_is_refused(layout: Layout, dtype: Dtype) -> None:
    held = sound(layout, dtype)

    for part in held.parts:
        rest = {name: array for name, array in held.parts.items() if name != part}
        with pytest.raises(ValueError, match=f"layout {layout} of {dtype} has the parts"):
            check.tensor(replace(held, parts=rest))
    with pytest.raises(ValueError, match="has the parts"):
        check.tensor(with_part(held, "more", np.zeros(1)))


@pytest.mark.parametrize(("layout", "dtype"), EVERY)
def test_part_of_another_element_type_is_refused(layout: Layout, dtype: Dtype) -> None:
    held = sound(layout, dtype)

    for part, array in held.parts.items():
        with pytest.raises(ValueError, match=rf"^(a stored )?{part} must be .*, got f64|scale"):
            check.tensor(with_part(held, part, array.astype(np.float64)))


@pytest.mark.parametrize(("layout", "dtype"), EVERY)
def test_part_of_another_shape_is_refused(layout: Layout, dtype: Dtype) -> None:
    held = sound(layout, dtype)

    for part, array in held.parts.items():
        for odd in (array[:-1], array[np.newaxis], array.reshape(-1)[:-1]):
            with pytest.raises(ValueError, match=r"must|has"):
                check.tensor(with_part(held, part, odd))


@pytest.mark.parametrize("layout", sorted(SPARSE))
@pytest.mark.parametrize("dtype", [Dtype.BF16, Dtype.I32, Dtype.BOOL, Dtype.F64, Dtype.U8])
def test_other_value_types_are_refused(layout: Layout, dtype: Dtype) -> None:
    with pytest.raises(ValueError, match=f"values of {layout} are f32, f16 or i8, got {dtype}"):
        check.tensor(replace(sound(layout), dtype=dtype))


@pytest.mark.parametrize("layout", sorted(SPARSE))
@pytest.mark.parametrize("shape", [(70,), (70, 50, 1), (), (-1, 50), (70, 2**31)])
def test_shapes_that_are_no_matrix_are_refused(layout: Layout, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"{layout} needs two dimensions of 0..2147483647"):
        check.tensor(replace(sound(layout), shape=shape))


@pytest.mark.parametrize("layout", sorted(SPARSE))
@pytest.mark.parametrize("shape", [(134, 50), (5, 50), (70, 14), (70, 200), (0, 0)])
def test_parts_of_another_shape_of_matrix_are_refused(
    layout: Layout, shape: tuple[int, int]
) -> None:
    by_row = layout in (Layout.CSR, Layout.SELL, Layout.BLOCK)
    wider = (shape == (70, 200) and by_row) or (shape == (134, 50) and layout is Layout.CSC)
    held = replace(sound(layout), shape=shape)

    if wider:  # more columns (or rows) that happen to be empty
        assert check.tensor(held) is held
    else:
        with pytest.raises(ValueError, match=r"must|has|names"):
            check.tensor(held)


@pytest.mark.parametrize("layout", sorted(SPARSE))
@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_scales_that_are_not_positive_and_finite_are_refused(layout: Layout, scale: float) -> None:
    held = sound(layout, Dtype.I8)

    with pytest.raises(ValueError, match="scales must be positive and finite"):
        check.tensor(changed(held, "scale", 0, 0, to=scale))


@pytest.mark.parametrize(
    ("layout", "scales"),
    [
        (Layout.CSR, 70),
        (Layout.CSC, 50),
        (Layout.BLOCK, 35),
        (Layout.SELL, 70),
        (Layout.BITMASK, 70),
        (Layout.NM, 70),
    ],
)
def test_there_is_one_scale_for_each_stored_line(layout: Layout, scales: int) -> None:
    held = sound(layout, Dtype.I8)

    assert held.parts["scale"].shape == (scales, 1)
    with pytest.raises(ValueError, match=rf"scale must have shape \({scales}, 1\), got \(1, 1\)"):
        check.tensor(with_part(held, "scale", np.ones((1, 1), np.float32)))


Rule = tuple[Layout, Callable[[Tensor], Tensor], str]
RULES: Mapping[str, Rule] = {
    "csr starts late": (Layout.CSR, lambda t: changed(t, "indptr", 0, to=1), "indptr must run"),
    "csr ends early": (Layout.CSR, lambda t: changed(t, "indptr", -1, to=9), "must run from 0 to"),
    "csr falls": (Layout.CSR, lambda t: changed(t, "indptr", 3, to=9999), "decreases at row 3: 99"),
    "csr negative": (Layout.CSR, lambda t: changed(t, "indptr", 2, to=-1), "decreases at row 1"),
    "csr column": (Layout.CSR, lambda t: changed(t, "indices", 4, to=50), r"indices\[4\] is 50"),
    "csr below": (Layout.CSR, lambda t: changed(t, "indices", 4, to=-1), r"indices\[4\] is -1"),
    "csc row": (Layout.CSC, lambda t: changed(t, "indices", 4, to=70), r"is 70, .* has 70 rows"),
    "csc falls": (Layout.CSC, lambda t: changed(t, "indptr", 3, to=9999), "decreases at column 3"),
    "block column": (
        Layout.BLOCK,
        lambda t: changed(t, "indices", 1, to=7),
        r"indices\[1\] is 7, the matrix has 7 columns of blocks",
    ),
    "block falls": (
        Layout.BLOCK,
        lambda t: changed(t, "indptr", 2, to=34),
        "decreases at row of blocks 2: 34 to 21",
    ),
    "block without height": (
        Layout.BLOCK,
        lambda t: with_part(t, "values", t.parts["values"][:, :0]),
        "values must be",
    ),
    "block flat": (
        Layout.BLOCK,
        lambda t: with_part(t, "values", t.parts["values"].reshape(35, 128)),
        r"must be \(blocks, height, width\), got shape \(35, 128\)",
    ),
    "slice start": (
        Layout.SELL,
        lambda t: changed(t, "starts", 1, to=t.parts["starts"][1] - 1),
        "starts must be multiples of 64",
    ),
    "slice falls": (Layout.SELL, lambda t: changed(t, "starts", 1, to=2**20), "decreases at slice"),
    "row too long": (Layout.SELL, lambda t: changed(t, "lengths", 0, to=99), "has width"),
    "row of less than nothing": (
        Layout.SELL,
        lambda t: changed(t, "lengths", 5, to=-1),
        r"lengths\[5\] is -1",
    ),
    "row that is none": (Layout.SELL, lambda t: changed(t, "order", 0, to=70), "names row 70"),
    "row below": (Layout.SELL, lambda t: changed(t, "order", 0, to=-1), "names row -1"),
    "row twice": (
        Layout.SELL,
        lambda t: changed(t, "order", 0, to=t.parts["order"][1]),
        "order must name every row once",
    ),
    "sell column": (Layout.SELL, lambda t: changed(t, "indices", 0, to=50), "is 50, the matrix"),
    "padding points outside": (
        Layout.SELL,
        lambda t: changed(t, "indices", -1, to=-7),
        "is -7, the matrix",
    ),
    "bit too many": (
        Layout.BITMASK,
        lambda t: changed(t, "words", 2, 0, to=2**32 - 1),
        "row 2 has .* bits and .* values",
    ),
    "bit beyond the columns": (
        Layout.BITMASK,
        lambda t: changed(t, "words", 2, 1, to=2**31),
        "bits above column 50 of the last word must be zero",
    ),
    "value in another row": (
        Layout.BITMASK,
        lambda t: changed(t, "starts", 1, to=t.parts["starts"][1] + 1),
        "row 0 has .* bits",
    ),
    "bitmask falls": (Layout.BITMASK, lambda t: changed(t, "starts", 1, to=9999), "decreases at"),
    # The pattern of `sound` is 3 of 4: 39 elements in 13 groups, of which the last has 2 columns.
    "no pattern": (Layout.NM, lambda t: changed(t, "pattern", 0, to=0), "got 0 of 4"),
    "more than all": (Layout.NM, lambda t: changed(t, "pattern", 0, to=5), "got 5 of 4"),
    "group too wide": (Layout.NM, lambda t: changed(t, "pattern", 1, to=17), "got 3 of 17"),
    "other pattern": (Layout.NM, lambda t: changed(t, "pattern", 0, to=1), "must have shape"),
    "place outside its group": (
        Layout.NM,
        lambda t: changed(t, "positions", 3, 1, to=0x40),
        "row 3, group 1 has place 4, the group has 4 columns",
    ),
    "place beyond the columns": (
        Layout.NM,
        lambda t: changed(t, "positions", 3, 18, to=0x02),
        "row 3, group 12 has place 2, the group has 2 columns",
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_rule_that_is_broken_alone_is_named(rule: str) -> None:
    layout, broken, message = RULES[rule]

    for dtype in (Dtype.F32, Dtype.I8):
        held = sound(layout, dtype)
        with pytest.raises(ValueError, match=message):
            check.tensor(broken(held))


def test_short_indices_number_65536_places_and_no_more() -> None:
    def tensor(cols: int) -> Tensor:
        parts: dict[str, Array] = {
            "indptr": np.array([0, 1], np.int32),
            "indices": np.array([65535], np.uint16),
            "values": np.ones(1, np.float32),
        }
        return Tensor(Layout.CSR, Dtype.F32, (1, cols), parts)

    assert check.tensor(tensor(65536)).type.nonzeros == 1
    with pytest.raises(ValueError, match="u16 indices number at most 65536 columns, the matrix"):
        check.tensor(tensor(65537))
    with pytest.raises(ValueError, match=r"indices\[0\] is 65535, the matrix has 9 columns"):
        check.tensor(tensor(9))


@pytest.mark.parametrize("kind", [np.int64, np.uint32, np.int16, np.float32])
def test_indices_of_other_widths_are_refused(kind: type) -> None:
    held = sound(Layout.CSR)

    with pytest.raises(ValueError, match="indices must be i32 or u16"):
        check.tensor(with_part(held, "indices", held.parts["indices"].astype(kind)))


def test_matrix_without_columns_has_no_elements() -> None:
    held = convert.to_layout(dense(np.zeros((3, 0), np.float32)), Layout.SELL)
    parts = {**held.parts, "lengths": np.array([1, 0, 0], np.int32)}
    parts |= {"starts": np.array([0, 64], np.int32)}
    parts |= {"indices": np.zeros(64, np.int32), "values": np.zeros(64, np.float32)}

    assert check.tensor(held) is held
    with pytest.raises(ValueError, match="a matrix without columns has no elements"):
        check.tensor(replace(held, parts=parts))


@given(st.sampled_from(EVERY), st.integers(0, 9), st.integers(0, 10**6), st.integers(-99, 99))
def test_a_number_changed_anywhere_is_refused_or_still_a_matrix(
    kind: tuple[Layout, Dtype], part: int, at: int, to: int
) -> None:
    held = narrow.narrow(
        convert.to_layout(dense(samples.random(20, 30, 0.3)), kind[0], block=(3, 4)), kind[1]
    )
    name = list(held.parts)[part % len(held.parts)]
    array = held.parts[name].copy()
    array.reshape(-1)[at % array.size] = np.asarray(to).astype(array.dtype)
    odd = with_part(held, name, array)

    try:
        check.tensor(odd)
    except ValueError:
        return

    # What passes the checks is read without a fault, and alike by both readers.
    np.testing.assert_allclose(
        convert.to_dense(odd), triplets.matrix(odd).toarray(), rtol=1e-6, atol=1e-30
    )
