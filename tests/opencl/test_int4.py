"""Products with 4-bit weights as a card launches them, and weights there and back."""

import numpy as np
import pytest

from services.gpu_worker import nibbles
from services.gpu_worker.backend import OpenCLBackend
from shared.operators.catalog import spec
from shared.operators.int4 import rounded
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Attributes, Tensors
from shared.quantization import affine
from shared.quantization.scheme import int4_per_group
from shared.tensors.dtypes import F32, Array
from shared.tensors.layouts import Tensor, dense

GEMM_I4 = spec("gemm_i4")


def weight(rng: np.random.Generator, rows: int, cols: int, group: int) -> Tensor:
    full = rng.standard_normal((rows, cols), dtype=np.float32) / np.float32(cols**0.5)
    return affine.quantize(full, int4_per_group(group))


def product(backend: OpenCLBackend, inputs: Tensors, attributes: Attributes) -> Array:
    residents = {port: backend.upload(tensor) for port, tensor in inputs.items()}
    outputs = backend.run(GEMM_I4, residents, attributes)
    made = backend.download(outputs["y"]).values
    for resident in (*residents.values(), *outputs.values()):
        backend.release(resident)
    return made


@pytest.mark.parametrize("bits", [32, 8])
@pytest.mark.parametrize("group", [32, 128, 16, 96])
@pytest.mark.parametrize("n", [1, 2, 3, 16, 17, 65])
def test_products_of_a_card_agree(
    card: OpenCLBackend, rng: np.random.Generator, n: int, group: int, bits: int
) -> None:
    x = dense(rng.standard_normal((n, 384), dtype=np.float32))
    bias = dense(rng.standard_normal(131, dtype=np.float32))
    inputs = {"x": x, "weight": weight(rng, 131, 384, group), "bias": bias}
    attributes: Attributes = {"x_bits": bits, "activation": "relu"}

    made = product(card, inputs, attributes)

    expected = ReferenceBackend().run(GEMM_I4, inputs, attributes)["y"].values
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)


def test_every_case_of_the_catalogue_agrees_on_a_card(card: OpenCLBackend) -> None:
    for case in GEMM_I4.cases(np.random.default_rng(20)):
        made = product(card, case.inputs, case.attributes)

        expected = ReferenceBackend().run(GEMM_I4, case.inputs, case.attributes)["y"].values
        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5, err_msg=case.name)


def test_a_byte_is_the_nearest_one_even_where_division_would_miss_it(
    card: OpenCLBackend, rng: np.random.Generator
) -> None:
    """The weight picks out columns (a code of 1 each), so that y shows the bytes themselves."""
    columns = np.eye(64, dtype=np.float32)
    pick = affine.quantize(columns * 7, int4_per_group(64))  # codes 7, scale 1
    largest = rng.uniform(1.0, 2.0, (500, 1)).astype(np.float32)
    _, scale = rounded(largest)
    ties: F32 = ((rng.integers(0, 126, (500, 62)) + 0.5) * scale[:, None]).astype(np.float32)
    beside = np.nextafter(ties, rng.choice([0.0, 3.0], ties.shape).astype(np.float32))
    x = np.concatenate([largest, -largest, np.where(rng.random(ties.shape) < 0.3, ties, beside)], 1)

    made = product(card, {"x": dense(x.astype(np.float32)), "weight": pick}, {"x_bits": 8})

    values, scale = rounded(x.astype(np.float32))
    shown = np.rint(made.astype(np.float64) / (7.0 * scale[:, None]))
    np.testing.assert_array_equal(shown, values)


@pytest.mark.parametrize(
    ("rows", "cols", "group"), [(1, 32, 32), (5, 37, 37), (7, 30, 3), (2, 192, 96), (4, 0, 1)]
)
def test_a_weight_comes_back_as_it_went(
    backend: OpenCLBackend, rng: np.random.Generator, rows: int, cols: int, group: int
) -> None:
    went = (
        weight(rng, rows, cols, group)
        if cols
        else affine.quantize(np.zeros((rows, 0), np.float32), int4_per_group(group))
    )

    came = backend.download(backend.upload(went))

    for part, array in went.parts.items():
        np.testing.assert_array_equal(came.parts[part], array)


def test_a_word_holds_four_columns_of_two_rows() -> None:
    codes = np.array([[1, 2, 3, -4], [5, -6, 7, 0]], np.float32) * 2  # scale 1 by the extra column
    full = np.concatenate([codes / 2, [[7.0], [7.0]]], axis=1).astype(np.float32)
    held = affine.quantize(full, int4_per_group(5))

    words = nibbles.pair_rows(held.parts, held.type)["codes"]

    # code + 8, least first: 9 10 11 4 of row 0, then 13 2 15 8 of row 1
    assert words[0, 0] == 0x8F2D4BA9


@pytest.mark.parametrize(
    ("columns", "groups", "shift", "steps"),
    [
        (128, 4, 0, 4),  # groups of one step
        (256, 2, 2, 8),  # of four
        (192, 2, 2, 8),  # of three, filled up to four
        (192, 1, 31, 6),  # one group is never filled up beyond its last step
        (30, 10, 0, 10),
        (0, 0, 31, 0),
    ],
)
def test_groups_are_cut_into_a_power_of_two_of_steps(
    columns: int, groups: int, shift: int, steps: int
) -> None:
    cut = nibbles.Cut(columns, groups)

    assert (cut.shift, cut.steps) == (shift, steps)
