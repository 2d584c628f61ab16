"""Kernels compiled for the card without the card: registers, local memory, spills, hot loops.

The figures come from the compiler's own account of each kernel, so they say what fits, not how fast
it runs. What is compiled, and for which budget, is listed in ops/bench/silicon/variants.
"""

import re

import pytest

import kernels
from ops.bench.silicon import report
from ops.bench.silicon.assembly import Built
from ops.bench.silicon.configuration import STREAM, TILE, Configuration
from services.gpu_worker.limits import Limits
from shared.operators.catalog import CATALOG

CONFIGURATIONS = report.configurations()
BYTE_WIDE = {"ubyte", "sbyte"}
# In these, 64-bit integers are converted to floats with it, once per element.
CONVERTS = {"cast"}

each = pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda found: found.label)


def built(operator: str, entry: str) -> Built:
    """The first configuration of a kernel."""
    return next(
        report.built(found.label)
        for found in CONFIGURATIONS
        if (found.operator, found.entry) == (operator, entry)
    )


@each
def test_kernel_fits_the_card(configuration: Configuration) -> None:
    kernel = report.built(configuration.label)

    assert (kernel.scratch_bytes, kernel.spills) == (0, 0)
    assert kernel.vector_registers <= configuration.budget
    assert kernel.waves >= 3
    Limits().check_kernel(configuration.entry, group=kernel.group, local_bytes=kernel.local_bytes)


@each
def test_no_kernel_computes_with_the_slow_fma(configuration: Configuration) -> None:
    operations = report.built(configuration.label).operations

    if configuration.operator not in CONVERTS:
        assert "v_fma_f32" not in " ".join(operations)  # a quarter of the rate of v_mac here


@each
def test_no_hot_loop_loads_single_bytes(configuration: Configuration) -> None:
    hot = report.built(configuration.label).hot

    assert hot is None or not BYTE_WIDE & hot.loads.keys()


@each
def test_a_hot_loop_loads_the_weights_it_is_said_to(configuration: Configuration) -> None:
    share = report.per_weight(configuration, report.built(configuration.label))

    assert share is None or share > 0


@pytest.mark.parametrize("budget", sorted({found.budget for found in CONFIGURATIONS}))
def test_a_budget_is_that_of_a_stream_or_a_tile_or_the_kernel_says_why(budget: int) -> None:
    for found in CONFIGURATIONS:
        if found.budget == budget > TILE:
            header = kernels.source(found.operator)
            assert re.search(rf"^// .*\b{budget} registers", header, re.M), found.label
    assert budget >= STREAM


@pytest.mark.parametrize("operator", ["gemm_f32", "gemm_i8", "gemm_i4"])
def test_tiles_move_128_bits_at_a_time(operator: str) -> None:
    operations = built(operator, operator).operations

    assert "flat_load_dwordx4" in operations
    assert "ds_read_b128" in operations
    assert any(name.startswith("v_mac_f32") for name in operations)


def test_codes_of_8_bits_are_read_16_at_a_time() -> None:
    hot = built("gemm_i8", "gemm_i8_rows").hot

    assert hot is not None
    assert set(hot.loads) == {"dwordx4"}


@pytest.mark.parametrize("entry", ["gemm_i4_bytes", "gemm_i4_bytes_rows"])
def test_two_products_of_4_bit_weights_take_one_instruction(entry: str) -> None:
    hot = built("gemm_i4", entry).hot

    assert hot is not None
    assert hot.operations.count("v_mad_i32_i24") * 2 == hot.products
    assert hot.vector <= 2 * hot.products  # unpacking included; floats take three and more


def test_every_kernel_of_the_catalogue_is_checked() -> None:
    checked = {found.operator for found in CONFIGURATIONS}

    assert checked == {spec.name for spec in CATALOG} - {"reshape"}


def test_every_kernel_function_is_checked() -> None:
    written = {
        found
        for name in kernels.NAMES
        for found in re.findall(r"__kernel[^;{]*?\bvoid\s+(\w+)\s*\(", kernels.source(name), re.S)
    }

    assert {found.entry for found in CONFIGURATIONS} == written


def test_labels_tell_configurations_apart() -> None:
    labels = [found.label for found in CONFIGURATIONS]

    assert len(labels) == len(set(labels))
