"""Features of a sparse matrix, and bytes of its layouts, against counting by hand."""

import numpy as np
import pytest
from hypothesis import given

from shared.sparse import candidates, features
from shared.sparse.candidates import DENSE
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import dense
from tests.numerics import sparse_samples
from tests.numerics.choices import seen
from tests.numerics.sparse_samples import MATRICES


def test_features_are_what_one_counts_by_hand() -> None:
    matrix = np.zeros((3, 20), np.float32)
    matrix[0, [0, 1, 2]], matrix[2, [17]] = 1, 1

    found = seen(matrix)

    assert (found.rows, found.cols, found.nonzeros) == (3, 20, 4)
    assert found.row_variance == pytest.approx((9 + 0 + 1) / 3 - (4 / 3) ** 2)
    assert found.longest == 3
    assert found.band == 17 - 2 * 20 // 3  # row 2 has its diagonal at column 13
    assert found.blocks == (2, 1)  # columns 0..15 and 16..19; all in one of 64
    assert found.most == (3, 3)
    assert found.slots == 64 * 3
    assert found.block_fill == (4 / 512, 4 / 4096)
    assert found.group_fill == (4 / (3 * 5 * 3), 4 / (3 * 3 * 3))


@pytest.mark.parametrize("name", sparse_samples.awkward())
def test_bytes_of_every_candidate_are_those_of_the_tensor_it_makes(name: str) -> None:
    matrix = sparse_samples.awkward()[name]
    found = seen(matrix)

    for dtype in candidates.VALUES if np.isfinite(matrix).all() else (Dtype.F32, Dtype.F16):
        for candidate in candidates.fitting(found, dtype):
            made = candidates.laid_out(dense(matrix), candidate)

            assert made.nbytes == candidates.nbytes(candidate, found), candidate.name
            assert made.layout is candidate.layout
            assert made.dtype is candidate.dtype


@given(MATRICES)
def test_every_fitting_candidate_holds_the_matrix(matrix: F32) -> None:
    for candidate in candidates.fitting(seen(matrix)):
        made = candidates.laid_out(dense(matrix), candidate)

        np.testing.assert_array_equal(candidates.laid_out(made, DENSE).values, matrix)


def test_structures_are_told_apart() -> None:
    rng = np.random.default_rng(3)
    uniform = sparse_samples.random(512, 512, 0.05)
    blocks = np.kron(rng.random((32, 32)) < 0.2, np.ones((16, 16))).astype(np.float32)
    pairs = np.tile(np.array([1, 0, 2, 0], np.float32), (512, 128))
    band = np.triu(np.tril(np.ones((512, 512), np.float32), 3), -3)
    gaps = np.where(rng.random((512, 1)) < 0.2, sparse_samples.random(512, 512, 0.3), 0)
    one_row = uniform.copy()
    one_row[7] = 1

    found = [seen(m).structure for m in (uniform, blocks, pairs, band, gaps, one_row)]

    assert found == ["uniform", "block16", "nm2of4", "banded", "uneven", "spiked"]
    assert seen(np.zeros((4, 4), np.float32)).structure == "empty"


def test_a_shape_class_holds_neighbours_and_no_others() -> None:
    def told(share: float, columns: int = 8) -> str:
        return features.shape_class(seen(sparse_samples.random(512, 512, share, seed=1)), columns)

    assert told(0.1) == told(0.09)
    assert told(0.1) == "rows 2^9 cols 2^9 x 2^3 density 2^-3.5 uniform"
    assert len({told(0.1), told(0.05), told(0.1, columns=64)}) == 3
