"""The bytes that ops/docs/formats.md promises are those that packing makes."""

from pathlib import Path

import pytest

from ops.bench import format_bytes
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import SPARSE, parts_of

PAGE = (Path(__file__).parents[2] / "ops/docs/formats.md").read_text()
AT_90 = format_bytes.SPARSITIES.index(0.90)


@pytest.fixture(scope="module")
def factors() -> dict[tuple[str, Dtype], float]:
    """At 90 % zeros, how many times smaller than dense float32; with the smallest indices."""
    return {(row.name, row.values): row.factors[AT_90] for row in format_bytes.rows()}


def test_tables_of_the_page_are_what_the_script_prints() -> None:
    assert format_bytes.markdown() in PAGE


def test_page_names_every_layout_and_its_parts() -> None:
    for layout in SPARSE:
        for part in parts_of(layout, Dtype.I8):
            assert f"`{part}`" in PAGE
        assert f"`{layout}`" in PAGE


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("csr", Dtype.I8),
        ("csc", Dtype.I8),
        ("sell", Dtype.I8),
        ("bitmask", Dtype.F16),
        ("bitmask", Dtype.I8),
        ("block 16×16, random blocks", Dtype.F16),
        ("block 64×64, random blocks", Dtype.F16),
    ],
)
def test_nine_of_ten_zeros_make_a_matrix_over_ten_times_smaller(
    factors: dict[tuple[str, Dtype], float], name: str, values: Dtype
) -> None:
    assert factors[name, values] >= 10.1


def test_bytes_of_csr_are_those_counted_by_hand() -> None:
    by_hand = {
        # 4096² / 10 = 1677722 elements; 4097 row starts; 4096 scales
        (Dtype.F32, Dtype.I32): 1677722 * (4 + 4) + 4097 * 4,
        (Dtype.F32, Dtype.U16): 1677722 * (4 + 2) + 4097 * 4,
        (Dtype.F16, Dtype.U16): 1677722 * (2 + 2) + 4097 * 4,
        (Dtype.I8, Dtype.U16): 1677722 * (1 + 2) + 4097 * 4 + 4096 * 4,
    }

    held = {
        (row.values, row.indices): row.nbytes[AT_90]
        for row in format_bytes.rows()
        if row.name == "csr"
    }

    assert held == by_hand


def test_elements_without_order_fill_every_block() -> None:
    row = format_bytes.rows()[-1]

    assert row.name == "block 16×16, random elements"
    assert max(row.factors) < 1.01
