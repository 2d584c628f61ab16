"""A call that does not fit its spec is refused with words that help to mend it."""

import re

import numpy as np
import pytest

from services.cpu_worker.backend import CpuBackend
from shared.operators import catalog, validate
from shared.operators.catalog import CATALOG
from shared.operators.null import NullBackend
from shared.operators.reference import ReferenceBackend
from shared.operators.samples import f32, zeros
from shared.operators.spec import Attributes, Backend, OperatorSpec
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense


def kinds(**inputs: tuple[int | None, ...]) -> dict[str, TensorType]:
    return {port: TensorType(Layout.DENSE, Dtype.F32, shape) for port, shape in inputs.items()}


def test_unknown_operator_is_answered_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no operator 'gemm_f23'; did you mean gemm_f32"):
        catalog.spec("gemm_f23")


def test_unknown_operator_like_nothing_is_answered_with_all() -> None:
    with pytest.raises(ValueError, match="known: add, cast, clip"):
        catalog.spec("§")


@pytest.mark.parametrize("spec", CATALOG, ids=lambda spec: spec.name)
def test_every_attribute_says_what_it_means(spec: OperatorSpec) -> None:
    assert all(attribute.meaning for attribute in spec.attributes)


@pytest.mark.parametrize("spec", CATALOG, ids=lambda spec: spec.name)
def test_every_missing_port_is_named(spec: OperatorSpec) -> None:
    case = next(iter(spec.cases(np.random.default_rng(0))))
    for port in spec.inputs:
        if port.optional:
            continue
        left = {name: held.type for name, held in case.inputs.items() if name != port.name}
        with pytest.raises(ValueError, match=f"{spec.name}: port '{port.name}' is missing"):
            validate.call(spec, left, case.attributes)


@pytest.mark.parametrize("spec", CATALOG, ids=lambda spec: spec.name)
def test_every_port_refuses_another_layout(spec: OperatorSpec) -> None:
    case = next(iter(spec.cases(np.random.default_rng(0))))
    for port in spec.inputs:
        types = {name: held.type for name, held in case.inputs.items()}
        bits = port.layout is Layout.SPIKE_BITS
        types[port.name] = TensorType(
            Layout.DENSE if bits else Layout.SPIKE_BITS, Dtype.F32, (1, 1)
        )
        with pytest.raises(ValueError, match=f"'{port.name}' takes layout {port.layout}"):
            validate.call(spec, types, case.attributes)


@pytest.mark.parametrize("spec", CATALOG, ids=lambda spec: spec.name)
def test_every_attribute_without_default_must_be_given(spec: OperatorSpec) -> None:
    case = next(iter(spec.cases(np.random.default_rng(0))))
    types = {name: held.type for name, held in case.inputs.items()}
    for attribute in spec.attributes:
        if attribute.default is None:
            left = {k: v for k, v in case.attributes.items() if k != attribute.name}
            with pytest.raises(ValueError, match=f"attribute '{attribute.name}' is missing"):
                validate.call(spec, types, left)


@pytest.mark.parametrize(
    ("name", "inputs", "attributes", "message"),
    [
        ("gemm_f32", kinds(x=(2, 3), wieght=(4, 3)), {}, "no port 'wieght'; did you mean weight"),
        ("gemm_f32", kinds(x=(2, 3), weight=(4, 5)), {}, "weight must have shape (4, 3)"),
        ("gemm_f32", kinds(x=(2, 3, 1), weight=(4, 3)), {}, "x must have two dimensions, got"),
        ("gemm_f32", kinds(x=(None, 3), weight=(4, 3)), {}, "has an open dimension"),
        ("gemm_f32", kinds(x=(2, 3), weight=(4, 3), bias=(3,)), {}, "bias must have shape (4,)"),
        (
            "gemm_f32",
            kinds(x=(2, 3), weight=(4, 3)),
            {"activation": "rleu"},
            "'activation' cannot be 'rleu'; did you mean relu",
        ),
        (
            "gemm_f32",
            kinds(x=(2, 3), weight=(4, 3)),
            {"activaton": "relu"},
            "no attribute 'activaton'; did you mean activation",
        ),
        ("gemm_f32", kinds(x=(2, 3), weight=(4, 3)), {"activation": 1}, "is a str, got 1"),
        ("relu", kinds(x=(2,)), {"alpha": 1.0}, "no attribute 'alpha'; known: none"),
        ("lif_step", kinds(v=(2, 3), current=(2, 4)), {"decay": 0.5}, "current must have shape"),
        ("lif_step", kinds(v=(2, 3), current=(2, 3)), {"decay": "0.5"}, "is a float, got '0.5'"),
        ("lif_step", kinds(v=(2, 3), current=(2, 3)), {"decay": True}, "is a float, got True"),
        ("lif_step", kinds(v=(2, 3), current=(2, 3)), {"decay": np.nan}, "is a float32, got nan"),
        ("lif_step", kinds(v=(2, 3), current=(2, 3)), {"decay": 1e39}, "is a float32, got 1e+39"),
        ("lif_step", kinds(v=(2, 3), current=(2, 3)), {"decay": 10**400}, "is a float, got 1000"),
        ("clip", kinds(x=(2,)), {"low": 1.0, "high": 0.0}, "low 1.0 exceeds high 0.0"),
        ("softmax", kinds(x=()), {}, "softmax needs a last axis"),
        ("add", kinds(a=(2, 3), b=(2,)), {}, "b must have shape (2, 3), (3,) or ()"),
        ("cast", kinds(x=(2,)), {"to": "f23"}, "'to' cannot be 'f23'; did you mean f32"),
        ("reshape", kinds(x=(2, 3)), {"shape": (4, -1)}, "does not fit shape (4, -1)"),
        ("reshape", kinds(x=(2, 3)), {"shape": (5,)}, "does not fit shape (5,)"),
        ("reshape", kinds(x=(2, 3)), {"shape": (-1, -1)}, "one -1, got (-1, -1)"),
        ("reshape", kinds(x=(2, 3)), {"shape": (2, 3, 0)}, "keeps dimension 2"),
        ("reshape", kinds(x=(2, 3)), {"shape": (6.0,)}, "at most 32 integers"),
        ("reshape", kinds(x=(2, 3)), {"shape": (1,) * 33}, "at most 32 integers"),
        ("transpose", kinds(x=(2, 3)), {"perm": (0, 0)}, "must order the dimensions"),
        ("transpose", kinds(x=(2, 3)), {"perm": (1, 0, 2)}, "must order the dimensions"),
    ],
)
def test_misfit_is_named(
    name: str, inputs: dict[str, TensorType], attributes: Attributes, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        validate.call(catalog.spec(name), inputs, attributes)

    assert str(caught.value).startswith(f"{name}: ")


def test_port_refuses_another_element_type() -> None:
    inputs = {"x": TensorType(Layout.DENSE, Dtype.F64, (2,))}

    with pytest.raises(ValueError, match="port 'x' takes f32, got f64"):
        validate.call(catalog.spec("relu"), inputs, {})


def test_defaults_and_whole_numbers_become_the_kind_of_the_attribute() -> None:
    filled = validate.call(
        catalog.spec("lif_step"), kinds(v=(1, 1), current=(1, 1)), {"decay": 1, "v_reset": -1}
    )

    assert filled == {
        "decay": 1.0,
        "gain": 1.0,
        "v_rest": 0.0,
        "v_threshold": 1.0,
        "v_reset": -1.0,
    }
    assert all(type(value) is float for value in filled.values())


def test_list_of_json_becomes_a_tuple() -> None:
    given: dict[str, list[int]] = {"perm": [1, 0]}

    filled = validate.call(catalog.spec("transpose"), kinds(x=(2, 3)), given)  # type: ignore[arg-type]

    assert filled == {"perm": (1, 0)}


@pytest.mark.parametrize(
    "backend", [ReferenceBackend(), NullBackend(), CpuBackend()], ids=lambda backend: backend.name
)
@pytest.mark.parametrize(
    ("name", "inputs", "attributes", "message"),
    [
        ("gemm_f32", {"x": (2, 3), "weight": (4, 5)}, {}, "weight must have shape"),
        # numpy would spread the next three
        ("gemm_f32", {"x": (2, 3), "weight": (4, 3), "bias": (1,)}, {}, "bias must have shape"),
        ("lif_step", {"v": (2, 3), "current": (1, 3)}, {"decay": 0.5}, "current must have shape"),
        ("add", {"a": (2, 3), "b": (2, 1)}, {}, "b must have shape"),
        ("gemm_f32", {"x": (2, 3), "weight": (4, 3)}, {"activatoin": "relu"}, "no attribute"),
        ("gemm_i8", {"x": (2, 3), "weight": (4, 3)}, {}, "takes layout int8_channel, got dense"),
    ],
)
def test_backend_checks_before_it_computes(
    backend: Backend,
    name: str,
    inputs: dict[str, tuple[int, ...]],
    attributes: Attributes,
    message: str,
) -> None:
    residents = {port: backend.upload(zeros(*shape)) for port, shape in inputs.items()}

    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
        backend.run(catalog.spec(name), residents, attributes)


def test_a_call_that_passed_is_answered_like_at_first() -> None:
    spec, types = catalog.spec("lif_step"), kinds(v=(2, 3), current=(2, 3))
    passed = validate.Passed()

    for _ in range(2):
        assert passed.call(spec, types, {"decay": 1.0}) == validate.call(spec, types, {"decay": 1})
        with pytest.raises(ValueError, match="is a float, got True"):  # although True == 1.0
            passed.call(spec, types, {"decay": True})
        with pytest.raises(ValueError, match="current must have shape"):
            passed.call(spec, types | kinds(current=(1, 3)), {"decay": 1.0})
    listed: dict[str, list[int]] = {"perm": [1, 0]}
    turned = passed.call(catalog.spec("transpose"), kinds(x=(2, 3)), listed)  # type: ignore[arg-type]
    assert turned == {"perm": (1, 0)}


def test_the_calls_that_passed_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "MAX_PASSED", 3)
    passed, relu = validate.Passed(), catalog.spec("relu")

    for size in range(10):
        passed.call(relu, kinds(x=(size,)), {})

        assert 0 < len(passed) <= 3


def test_reference_supports_what_fits_its_ports() -> None:
    backend, relu = ReferenceBackend(), catalog.spec("relu")

    assert backend.supports(relu, kinds(x=(3,)))
    assert not backend.supports(relu, kinds(y=(3,)))
    assert not backend.supports(relu, {"x": TensorType(Layout.CSR, Dtype.F32, (3, 3), 1)})


def test_reference_uploads_without_a_copy() -> None:
    tensor: Tensor = f32([1.0])

    assert ReferenceBackend().upload(tensor) is tensor
    assert dense(tensor.values).values is tensor.values


@pytest.mark.parametrize("spec", CATALOG, ids=lambda spec: spec.name)
def test_every_operator_that_makes_whole_numbers_or_spikes_of_fractions_says_that_it_jumps(
    spec: OperatorSpec,
) -> None:
    case = next(iter(spec.cases(np.random.default_rng(0))))
    inputs = {name: held.type for name, held in case.inputs.items()}

    made = spec.infer(inputs, validate.call(spec, inputs, case.attributes))

    fractions = any(
        kind.layout is not Layout.SPIKE_BITS and kind.dtype is Dtype.F32 for kind in inputs.values()
    )
    whole = any(
        kind.layout is Layout.SPIKE_BITS or kind.dtype is not Dtype.F32 for kind in made.values()
    )
    assert spec.jumps or not (fractions and whole)
