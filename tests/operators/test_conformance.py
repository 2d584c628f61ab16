"""Every backend answers every case of every operator like the reference."""

from os import environ
from typing import Any

import numpy as np
import pytest

from services.cpu_worker.backend import CpuBackend
from shared.contracts.errors import DeviceFailed
from shared.operators import catalog, recurrent_cases, samples, spiking_cases
from shared.operators.catalog import CATALOG
from shared.operators.null import NullBackend
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Attributes, Backend, Case, OperatorSpec, Tensors, Tolerance
from shared.tensors import convert
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Tensor, TensorType

CASES = [(spec, case) for spec in CATALOG for case in spec.cases(np.random.default_rng(20))]
NEURON: Attributes = {"decay": 0.9, "threshold": 0.8}
STREAMS: dict[str, Attributes] = {
    "lif_layer": NEURON,
    "cuba_layer": {**NEURON, "synapse": 0.75, "couple": 0.5, "direct": 0.25},
    "recurrent_layer": {"stages": (11, 8)},
    "plastic_layer": {
        **NEURON, "a_plus": 0.05, "a_minus": 0.03, "decay_pre": 0.9, "decay_post": 0.8,
        "offset": 0.3, "theta_plus": 0.2, "theta_decay": 0.99, "inhibition": 0.3,
    },
}  # fmt: skip
POCL = "Portable Computing Language"
ON_EVERY_CARD = {Dtype.F32, Dtype.F16, Dtype.I8}  # as stored; half is read by vload_half


@pytest.fixture(scope="module")
def opencl(tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """The OpenCL backend, on PoCL unless a platform is named; skips with the reason without one."""
    platform = environ.get("ELLESMERE_OPENCL_PLATFORM", POCL)
    gpu_worker = pytest.importorskip("services.gpu_worker.backend", exc_type=ImportError)
    try:
        opened: Backend = gpu_worker.open_backend(platform, tmp_path_factory.mktemp("programs"))
    except DeviceFailed as error:
        pytest.skip(f"conformance on OpenCL needs {platform!r}: {error}")
    return opened


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Backend:
    """The backend that the test's id names."""
    plain = {"reference": ReferenceBackend, "cpu": CpuBackend, "null": NullBackend}
    if request.param in plain:
        made: Backend = plain[request.param]()
        return made
    if request.param == "cpu_compiled":
        return CpuBackend(request.getfixturevalue("kernels"))
    found: Backend = request.getfixturevalue("opencl")
    return found


def calls(*names: str) -> pytest.MarkDecorator:
    """Parametrise by backend and case, with ids like gemm_f32-cpu-odd_sizes."""
    rows = [
        pytest.param(
            spec,
            name,
            case,
            id=f"{spec.name}-{name}-{case.name}",
            marks=[pytest.mark.opencl] if name == "opencl" else [],
        )
        for spec, case in CASES
        for name in names
    ]
    return pytest.mark.parametrize(("spec", "backend", "case"), rows, indirect=["backend"])


def streams(*names: str) -> pytest.MarkDecorator:
    """Parametrise by layer and backend, with ids like plastic_layer-cpu."""
    rows = [
        pytest.param(
            layer, name, id=f"{layer}-{name}",
            marks=[pytest.mark.opencl] if name == "opencl" else [],
        )
        for layer in STREAMS
        for name in names
    ]  # fmt: skip
    return pytest.mark.parametrize(("name", "backend"), rows, indirect=["backend"])


@calls("reference", "cpu", "cpu_compiled", "opencl")
def test_backend_answers_like_the_reference(
    spec: OperatorSpec, backend: Backend, case: Case
) -> None:
    require_support(backend, spec, case)
    expected = ReferenceBackend().run(spec, case.inputs, case.attributes)

    results = run(backend, spec, case)

    assert {port: held.type for port, held in results.items()} == types(expected)
    for port, tensor in expected.items():
        assert_close(results[port], tensor, spec.tolerance)


@calls("null")
def test_backend_without_arithmetic_answers_with_the_right_types(
    spec: OperatorSpec, backend: Backend, case: Case
) -> None:
    expected = ReferenceBackend().run(spec, case.inputs, case.attributes)

    results = run(backend, spec, case)

    assert types(results) == types(expected)
    assert not any(readable(tensor).any() for tensor in results.values())


@pytest.mark.parametrize("spec", CATALOG, ids=lambda spec: spec.name)
def test_cases_of_an_operator_have_names_of_their_own(spec: OperatorSpec) -> None:
    names = [case.name for case in spec.cases(np.random.default_rng(0))]

    assert len(names) == len(set(names)) > 0


@pytest.mark.parametrize("spec", CATALOG, ids=lambda spec: spec.name)
def test_a_case_stays_as_it_was_made_while_others_are(spec: OperatorSpec) -> None:
    made = [(case, dict(case.inputs)) for case in spec.cases(np.random.default_rng(0))]

    assert all(case.inputs == inputs for case, inputs in made)


@pytest.mark.parametrize("spec", CATALOG, ids=lambda spec: spec.name)
def test_every_optional_port_is_given_in_some_cases_and_left_out_in_others(
    spec: OperatorSpec,
) -> None:
    cases = list(spec.cases(np.random.default_rng(0)))
    for port in spec.inputs:
        given = {port.name in case.inputs for case in cases}
        assert given == ({True, False} if port.optional else {True})


@pytest.mark.parametrize("spec", CATALOG, ids=lambda spec: spec.name)
def test_cases_depend_on_the_generator_alone(spec: OperatorSpec) -> None:
    first = list(spec.cases(np.random.default_rng(7)))
    second = list(spec.cases(np.random.default_rng(7)))

    for one, other in zip(first, second, strict=True):
        for port, tensor in one.inputs.items():
            assert_same_parts(other.inputs[port], tensor)


@streams("reference", "cpu", "cpu_compiled", "opencl")
def test_two_calls_that_carry_what_is_next_are_one_bit_by_bit(name: str, backend: Backend) -> None:
    spec, rng = catalog.spec(name), np.random.default_rng(5)
    spikes = (rng.random((1, 100, 37)) < 0.3).astype(np.uint8)
    weight = {"weight": samples.f32(rng.random((19, 37)) * 0.05)}  # a spike takes several steps
    if name == "recurrent_layer":
        weight["recurrent"] = recurrent_cases.synapses(rng, 19, 5)
        weight["neurons"] = recurrent_cases.neurons(rng, 19)
    halves = [spiking_cases.bits(part) for part in np.split(spikes, 2, axis=1)]

    whole = run(backend, spec, stream(name, {"spikes": spiking_cases.bits(spikes), **weight}))
    first = run(backend, spec, stream(name, {"spikes": halves[0], **weight}))
    carried = {port.removesuffix("_next"): first[port] for port in first if port != "spikes"}
    second = run(backend, spec, stream(name, {"spikes": halves[1], **weight, **carried}))

    for part in (first, second):
        assert part["spikes"].parts["words"].any()
    made = np.concatenate([part["spikes"].parts["words"] for part in (first, second)], axis=1)
    np.testing.assert_array_equal(made, whole["spikes"].parts["words"])
    for port in whole.keys() - {"spikes"}:
        assert_same_parts(second[port], whole[port])


def stream(name: str, inputs: Tensors) -> Case:
    return Case(name, inputs, STREAMS[name])


def require_support(backend: Backend, spec: OperatorSpec, case: Case) -> None:
    """Skip what a backend leaves to the reference: nothing of types that every card has."""
    if backend.supports(spec, types(case.inputs)):
        return
    assert backend.name != "cpu"
    assert not every_card_has(case)
    pytest.skip(f"{backend.name} leaves {spec.name} of these types to the reference")


def every_card_has(case: Case) -> bool:
    return all(tensor.dtype in ON_EVERY_CARD for tensor in case.inputs.values())


def types(tensors: Tensors) -> dict[str, TensorType]:
    return {port: tensor.type for port, tensor in tensors.items()}


def run(backend: Backend, spec: OperatorSpec, case: Case) -> dict[str, Tensor]:
    """One call on uploaded inputs; also holds that the inputs are what they were before."""
    residents = {port: backend.upload(tensor) for port, tensor in case.inputs.items()}
    outputs = backend.run(spec, residents, case.attributes)
    results = {port: backend.download(resident) for port, resident in outputs.items()}
    for port, tensor in case.inputs.items():
        assert_same_parts(backend.download(residents[port]), tensor)
    for resident in (*outputs.values(), *residents.values()):
        backend.release(resident)
    return results


def assert_same_parts(given: Tensor, expected: Tensor) -> None:
    for part, array in expected.parts.items():
        np.testing.assert_array_equal(given.parts[part], array)


def readable(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Values that compare as numbers; a NaN of BF16 has many bit patterns."""
    if tensor.dtype is Dtype.BF16:
        return convert.cast(tensor.values, Dtype.BF16, Dtype.F32)
    return tensor.values


def assert_close(given: Tensor, expected: Tensor, tolerance: Tolerance) -> None:
    """NaN is at the same places, everything else within the tolerance of the spec."""
    one, other = readable(given), readable(expected)
    if tolerance == Tolerance():
        np.testing.assert_array_equal(one, other)
    else:
        np.testing.assert_allclose(one, other, tolerance.rtol, tolerance.atol, equal_nan=True)
