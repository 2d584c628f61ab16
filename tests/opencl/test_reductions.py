"""Reductions as a card launches them: work-items that share rows, long axes in two passes."""

import numpy as np
import pytest

from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.launch.reductions import parts
from shared.operators.catalog import spec
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Attributes, Tensors
from shared.tensors.dtypes import F32
from shared.tensors.layouts import dense

NAMES = ("reduce_sum", "reduce_mean", "reduce_max")


def pair(
    backend: OpenCLBackend, name: str, inputs: Tensors, attributes: Attributes
) -> tuple[F32, F32]:
    """What the device says and what the reference says."""
    residents = {port: backend.upload(tensor) for port, tensor in inputs.items()}
    outputs = backend.run(spec(name), residents, attributes)
    made = backend.download(outputs["y"]).values.view(np.float32)
    for resident in (*residents.values(), *outputs.values()):
        backend.release(resident)
    expected = ReferenceBackend().run(spec(name), inputs, attributes)["y"].values
    return made, expected.view(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_every_case_agrees_on_a_card(card: OpenCLBackend, name: str) -> None:
    for case in spec(name).cases(np.random.default_rng(20)):
        made, expected = pair(card, name, case.inputs, case.attributes)

        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5, err_msg=case.name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("shape", "axis"), [((300_000,), 0), ((3, 50_001), 1), ((20_011, 3), 0)])
def test_a_long_axis_is_reduced_in_two_passes(
    card: OpenCLBackend, rng: np.random.Generator, name: str, shape: tuple[int, ...], axis: int
) -> None:
    x = rng.uniform(-1.0, 2.0, shape).astype(np.float32)

    made, expected = pair(card, name, {"x": dense(x)}, {"axis": axis})

    np.testing.assert_allclose(made, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("length", "results", "wanted"),
    [
        (2047, 1, 1),  # too short to cut
        (10**6, 1, 976),  # a thousand elements each
        (10**8, 1, 10000),  # the second pass is not longer than the first
        (10**6, 16384, 1),  # results enough
        (10**6, 1000, 16),
    ],
)
def test_an_axis_is_cut_where_there_are_few_results(length: int, results: int, wanted: int) -> None:
    assert parts(length, results) == wanted
