"""Functions of single elements, of two, and of the last axis."""

from collections.abc import Callable, Iterator

import numpy as np
from scipy import special

from shared.operators import dims, plain_gradients, samples
from shared.operators.spec import (
    Attribute,
    Attributes,
    Case,
    Cost,
    Gradient,
    OperatorSpec,
    Port,
    Scalar,
    Tensors,
    Tolerance,
    Types,
)
from shared.tensors import convert
from shared.tensors.dtypes import F32, Array, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

_EXACT = Tolerance()
_ROUNDED = Tolerance(rtol=1e-5, atol=1e-6)  # OpenCL allows exp 3 and tanh 5 units of rounding

SHAPES = {
    "scalar": (),
    "one_element": (1,),
    "vector": (37,),
    "odd_sizes": (3, 19),
    "whole_tiles": (4, 256),
    "large": (33, 515),
    "rank_four": (2, 3, 5, 7),
    "empty_batch": (0, 5),
}


# One input


def _relu(x: F32, attributes: Attributes) -> F32:
    return np.maximum(x, np.float32(0.0))


def _sigmoid(x: F32, attributes: Attributes) -> F32:
    return np.asarray(special.expit(x.astype(np.float64)), dtype=np.float32)


def _tanh(x: F32, attributes: Attributes) -> F32:
    return np.asarray(np.tanh(x.astype(np.float64)), dtype=np.float32)


def _copy(x: F32, attributes: Attributes) -> F32:
    return x.copy()


def _clip(x: F32, attributes: Attributes) -> F32:
    low, high = np.array([attributes["low"], attributes["high"]], dtype=np.float32)
    return np.asarray(np.clip(x, low, high), dtype=np.float32)


def _softmax(x: F32, attributes: Attributes) -> F32:
    """exp(x - max) / sum of it over the last axis, in float64, rounded once."""
    if x.size == 0:
        return x.copy()
    wide = x.astype(np.float64)
    grown = np.exp(wide - wide.max(axis=-1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=-1, keepdims=True), dtype=np.float32)


def _same_type(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    return {"y": dims.f32(*dims.sizes(inputs["x"]))}


def _clip_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    low, high = attributes["low"], attributes["high"]
    if isinstance(low, float) and isinstance(high, float) and low > high:
        raise ValueError(f"low {low} exceeds high {high}")
    return _same_type(inputs, attributes)


def _softmax_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    if not inputs["x"].shape:
        raise ValueError("softmax needs a last axis, got shape ()")
    return _same_type(inputs, attributes)


def _cases(rng: np.random.Generator, attributes: Attributes, *, rank: int) -> Iterator[Case]:
    """Every shape of at least `rank`, extremes of float32, NaN and infinities."""
    for name, shape in SHAPES.items():
        if len(shape) >= rank:
            yield Case(name, {"x": samples.normal(rng, *shape, scale=2.0)}, attributes)
    yield Case("all_zero", {"x": samples.zeros(3, 5)}, attributes)
    far = samples.f32([[-1e30, -100.0, -1.0, 0.0, 1.0, 100.0, 1e30]])
    yield Case("far_from_zero", {"x": far}, attributes)
    nan = samples.with_nan(samples.normal(rng, 3, 5), 1, 2)
    yield Case("nan_in_one_row", {"x": nan}, attributes)
    infinite = samples.f32([[np.inf, 1.0, -np.inf], [-np.inf, -np.inf, -np.inf]])
    yield Case("infinities", {"x": infinite}, attributes)


def _unary(  # noqa: PLR0913 - a table row with named columns, called only just below
    name: str,
    function: Callable[[F32, Attributes], F32],
    *,
    flops: int,
    tolerance: Tolerance,
    gradient: Gradient,
    infer: Callable[[Types, Attributes], dict[str, TensorType]] = _same_type,
    attributes: tuple[Attribute, ...] = (),
    sample: Attributes | None = None,
    rank: int = 0,
) -> OperatorSpec:
    """A spec of one input x and one output y of its shape; `flops` is per element."""

    def reference(inputs: Tensors, given: Attributes) -> dict[str, Tensor]:
        return {"y": dense(function(inputs["x"].values.view(np.float32), given))}

    def cost(inputs: Types, given: Attributes) -> Cost:
        count = dims.elements(inputs["x"])
        return Cost(float(flops * count), 8.0 * count)

    return OperatorSpec(
        name=name,
        inputs=(Port("x"),),
        outputs=(Port("y"),),
        infer=infer,
        reference=reference,
        cost=cost,
        cases=lambda rng: _cases(rng, sample or {}, rank=rank),
        attributes=attributes,
        tolerance=tolerance,
        gradient=gradient,
    )


# A flop is one arithmetic operation, comparison or elementary function.
RELU = _unary("relu", _relu, flops=1, tolerance=_EXACT, gradient=plain_gradients.relu)
SIGMOID = _unary("sigmoid", _sigmoid, flops=4, tolerance=_ROUNDED, gradient=plain_gradients.sigmoid)
TANH = _unary("tanh", _tanh, flops=1, tolerance=_ROUNDED, gradient=plain_gradients.tanh)
COPY = _unary("copy", _copy, flops=0, tolerance=_EXACT, gradient=plain_gradients.copy)
CLIP = _unary(
    "clip",
    _clip,
    flops=2,
    tolerance=_EXACT,
    gradient=plain_gradients.clip,
    infer=_clip_types,
    attributes=(
        Attribute("low", float, None, "smaller values become this"),
        Attribute("high", float, None, "larger values become this"),
    ),
    sample={"low": -0.5, "high": 1.25},
)
SOFTMAX = _unary(
    "softmax",
    _softmax,
    flops=5,
    tolerance=_ROUNDED,
    gradient=plain_gradients.softmax,
    infer=_softmax_types,
    rank=1,
)


# Two inputs


def _binary_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    a, b = dims.sizes(inputs["a"]), dims.sizes(inputs["b"])
    if b not in {a, a[-1:], ()}:
        raise ValueError(f"b must have shape {a}, {a[-1:]} or () for a {a}, got {b}")
    return {"y": dims.f32(*a)}


def _binary_cost(inputs: Types, attributes: Attributes) -> Cost:
    count = dims.elements(inputs["a"])
    return Cost(float(count), dims.traffic(inputs.values(), [inputs["a"]]))


def _binary_cases(rng: np.random.Generator) -> Iterator[Case]:
    for name, shape in SHAPES.items():
        a = samples.normal(rng, *shape)
        yield Case(f"{name}_same_shape", {"a": a, "b": samples.normal(rng, *shape)})
        yield Case(f"{name}_last_axis", {"a": a, "b": samples.normal(rng, *shape[-1:])})
        yield Case(f"{name}_by_scalar", {"a": a, "b": samples.normal(rng)})
    a, b = samples.normal(rng, 3, 5), samples.with_nan(samples.normal(rng, 5), 2)
    yield Case("nan_in_one_column", {"a": a, "b": b})
    largest = samples.f32([3.4e38, -3.4e38])
    yield Case("beyond_float32", {"a": largest, "b": largest})


def _binary(name: str, function: Callable[[F32, F32], F32], gradient: Gradient) -> OperatorSpec:
    def reference(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
        a, b = (inputs[port].values.view(np.float32) for port in ("a", "b"))
        return {"y": dense(np.asarray(function(a, b)))}

    return OperatorSpec(
        name=name,
        inputs=(Port("a"), Port("b")),
        outputs=(Port("y"),),
        infer=_binary_types,
        reference=reference,
        cost=_binary_cost,
        cases=_binary_cases,
        tolerance=_EXACT,
        gradient=gradient,
    )


ADD = _binary("add", np.add, plain_gradients.add)
MUL = _binary("mul", np.multiply, plain_gradients.mul)


# Element types


def cast(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """Every element in another type, by the rules of shared.tensors.convert."""
    x, target = inputs["x"], Dtype(str(attributes["to"]))
    return {"y": dense(convert.cast(x.values, x.dtype, target), target)}


def cast_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """x of any shape gives y of that shape."""
    shape = dims.sizes(inputs["x"])
    return {"y": TensorType(Layout.DENSE, Dtype(str(attributes["to"])), shape)}


def cast_cost(inputs: Types, attributes: Attributes) -> Cost:
    """No arithmetic; one element read and one written."""
    return Cost(0.0, dims.traffic(inputs.values(), cast_types(inputs, attributes).values()))


_NEXT = dict(zip(Dtype, [*list(Dtype)[1:], Dtype.BOOL], strict=True))  # each kind, sign and width


def cast_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Every type from and to f32 and to the next one, on values that round, saturate or vanish."""
    wild = [0.0, 0.5, -0.5, 1.5, 2.5, -1.0, 127.9, 255.5, 256.0, 70000.0, 3e9, -3e9, 1e30, np.nan]
    whole: Array = np.array([0, 1, 2, 127, 128, 255, 256, 65535, 2**31 - 1, 2**63 - 1], np.uint64)
    for source in Dtype:
        floating = source in {Dtype.F16, Dtype.BF16, Dtype.F32, Dtype.F64}
        plain = dense(np.array(wild)) if floating else dense(whole)
        x = dense(convert.cast(plain.values, plain.dtype, source), source)
        targets = [Dtype.F32, _NEXT[source]] if source is not Dtype.F32 else list(Dtype)
        for target in dict.fromkeys(targets):
            yield Case(f"{source}_to_{target}", {"x": x}, {"to": target.value})
    yield Case("odd_sizes", {"x": samples.normal(rng, 3, 19, scale=50.0)}, {"to": "i32"})
    yield Case("empty_batch", {"x": samples.zeros(0, 5)}, {"to": "i8"})


_TO: tuple[Scalar, ...] = tuple(dtype.value for dtype in Dtype)

CAST = OperatorSpec(
    name="cast",
    inputs=(Port("x", dtypes=tuple(Dtype)),),
    outputs=(Port("y", dtypes=tuple(Dtype)),),
    infer=cast_types,
    reference=cast,
    cost=cast_cost,
    cases=cast_cases,
    attributes=(Attribute("to", str, None, "the element type of the result", choices=_TO),),
    tolerance=_EXACT,
    gradient=plain_gradients.cast,
    jumps=True,
)
