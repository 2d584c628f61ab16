"""Sparse tensors as bytes: every layout and value type reads back, nothing malformed gets in."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.sparse import convert, narrow
from shared.tensors import container
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import SPARSE, Layout, Tensor, dense, parts_of
from tests.numerics import sparse_samples as samples

VALUES = (Dtype.F32, Dtype.F16, Dtype.I8)
EVERY = [(layout, dtype) for layout in sorted(SPARSE) for dtype in VALUES]


def packed(matrix: F32, layout: Layout, dtype: Dtype) -> Tensor:
    wide = convert.to_layout(dense(matrix), layout, block=(3, 5))
    return narrow.compact(narrow.narrow(wide, dtype))


def every() -> dict[str, Tensor]:
    """One tensor of each layout and value type."""
    matrix = samples.random(20, 30, 0.3)
    return {f"{layout}_{dtype}": packed(matrix, layout, dtype) for layout, dtype in EVERY}


VALID = container.pack(every())


def test_all_layouts_and_value_types_read_back_from_one_file() -> None:
    again = container.unpack(VALID)

    assert again.keys() == every().keys()
    for name, tensor in every().items():
        samples.assert_same(again[name], tensor)


@given(samples.MATRICES, st.sampled_from(EVERY))
def test_any_matrix_reads_back(matrix: F32, kind: tuple[Layout, Dtype]) -> None:
    held = packed(matrix, *kind)

    again = container.unpack(container.pack({"w": held}))["w"]

    samples.assert_same(again, held)


@pytest.mark.parametrize("name", [name for name in samples.awkward() if "number" not in name])
@pytest.mark.parametrize(("layout", "dtype"), EVERY)
def test_awkward_matrices_read_back(name: str, layout: Layout, dtype: Dtype) -> None:
    held = packed(samples.awkward()[name], layout, dtype)

    again = container.unpack(container.pack({"w": held}))["w"]

    samples.assert_same(again, held)


def test_parts_are_aligned_views_of_the_bytes() -> None:
    for tensor in container.unpack(VALID).values():
        for part in tensor.parts.values():
            assert part.flags.aligned
            assert not part.flags.owndata


def test_what_was_read_converts_without_being_written_to() -> None:
    for name, tensor in container.unpack(VALID).items():
        for layout in SPARSE:
            moved = convert.to_layout(tensor, layout)
            step = 0.0 if tensor.dtype is not Dtype.I8 else 0.05
            error = np.abs(convert.to_dense(moved) - convert.to_dense(tensor)).max()
            assert error <= step, name


def test_parts_with_strides_are_written_in_order() -> None:
    held = packed(samples.random(20, 30, 0.3), Layout.BLOCK, Dtype.F32)
    turned = np.asfortranarray(held.parts["values"])
    strided = replace(held, parts={**held.parts, "values": turned})

    assert container.pack({"w": strided}) == container.pack({"w": held})


def foreign(tensor: Tensor, **changes: object) -> bytes:
    """The parts of a tensor as another library would write them, with other words about them."""
    about = {"layout": tensor.layout, "dtype": tensor.dtype, "shape": tensor.shape} | changes
    parts = {f"w.{name}": part for name, part in tensor.parts.items()}
    return safetensors.numpy.save(parts, {"layouts": json.dumps({"w": about})})


@pytest.mark.parametrize(("layout", "dtype"), EVERY)
def test_other_libraries_write_what_we_read(layout: Layout, dtype: Dtype) -> None:
    held = packed(samples.random(20, 30, 0.3), layout, dtype)

    samples.assert_same(container.unpack(foreign(held))["w"], held)


@pytest.mark.parametrize(("layout", "dtype"), EVERY)
def test_each_part_must_be_there(layout: Layout, dtype: Dtype) -> None:
    held = packed(samples.random(20, 30, 0.3), layout, dtype)

    for part in parts_of(layout, dtype):
        rest = {name: array for name, array in held.parts.items() if name != part}
        with pytest.raises(ValueError, match=f"layout {layout} lacks w.{part}"):
            container.unpack(foreign(replace(held, parts=rest)))


def test_codes_without_their_scale_are_refused() -> None:
    codes = packed(samples.random(20, 30, 0.3), Layout.SELL, Dtype.I8)
    wide = packed(samples.random(20, 30, 0.3), Layout.SELL, Dtype.F32)

    with pytest.raises(ValueError, match="'w': values must be f32, got i8"):
        container.unpack(foreign(codes, dtype="f32"))
    with pytest.raises(ValueError, match=r"layout sell lacks w\.scale"):
        container.unpack(foreign(wide, dtype="i8"))


@pytest.mark.parametrize("layout", sorted(SPARSE))
def test_broken_parts_are_neither_written_nor_read(layout: Layout) -> None:
    held = packed(samples.random(20, 30, 0.3), layout, Dtype.I8)
    broken = replace(held, parts={**held.parts, "scale": np.zeros_like(held.parts["scale"])})

    for attempt in (
        lambda: container.pack({"w": broken}),
        lambda: container.unpack(foreign(broken)),
    ):
        with pytest.raises(ValueError, match="tensor 'w': scales must be positive and finite"):
            attempt()


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=8))
def test_damaged_bytes_are_refused_or_still_matrices(damage: list[tuple[int, int]]) -> None:
    data = bytearray(VALID)
    for at, byte in damage:
        data[at] = byte

    try:
        tensors = container.unpack(bytes(data))
    except ValueError:
        return

    for tensor in tensors.values():
        if tensor.layout in SPARSE:
            with np.errstate(all="ignore"):  # a scale or value may have become huge
                assert convert.to_dense(tensor).shape == tensor.shape
