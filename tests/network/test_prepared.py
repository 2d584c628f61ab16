"""A call that was checked once gives what a call gives that is checked every time."""

import numpy as np
import pytest

from services.cpu_worker.backend import CpuBackend
from shared.operators import catalog
from shared.operators.spec import OperatorSpec, Preparing


@pytest.mark.parametrize("spec", catalog.CATALOG, ids=lambda spec: spec.name)
def test_prepared_call_equals_a_checked_call(spec: OperatorSpec, rng: np.random.Generator) -> None:
    backend = CpuBackend()
    assert isinstance(backend, Preparing)
    for case in spec.cases(rng):
        held = {port: backend.upload(tensor) for port, tensor in case.inputs.items()}
        types = {port: tensor.type for port, tensor in case.inputs.items()}

        checked = backend.run(spec, held, case.attributes)
        prepared = backend.prepare(spec, types, case.attributes)(held)

        for port, value in checked.items():
            want, got = backend.download(value), backend.download(prepared[port])
            np.testing.assert_array_equal(got.values, want.values)


def test_a_call_that_does_not_fit_is_refused_when_it_is_prepared() -> None:
    spec = catalog.spec("gemm_f32")

    with pytest.raises(ValueError, match="gemm_f32"):
        CpuBackend().prepare(spec, {}, {})
