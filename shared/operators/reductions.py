"""Sums, means and largest values over one axis."""

from collections.abc import Callable, Iterator

import numpy as np

from shared.operators import dims, plain_gradients, samples
from shared.operators.spec import (
    Attribute,
    Attributes,
    Case,
    Cost,
    Gradient,
    OperatorSpec,
    Port,
    Tensors,
    Tolerance,
    Types,
)
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor, TensorType, dense

Function = Callable[[F32, int, bool], F32]  # of x, an axis, and whether it stays as one of size 1
_ROUNDED = Tolerance(rtol=1e-5, atol=1e-5)  # of sums; a largest value is one of those given


def total(x: F32, axis: int, keepdims: bool) -> F32:
    """The sum in float64, rounded once; 0 of nothing."""
    return np.asarray(x.sum(axis, dtype=np.float64, keepdims=keepdims), dtype=np.float32)


def mean(x: F32, axis: int, keepdims: bool) -> F32:
    """The sum in float64 divided by the number of elements, rounded once; NaN of nothing."""
    summed = np.asarray(x.sum(axis, dtype=np.float64, keepdims=keepdims))
    return np.asarray(summed / np.float64(x.shape[axis]), dtype=np.float32)


def largest(x: F32, axis: int, keepdims: bool) -> F32:
    """The largest element; NaN if one is, -infinity of nothing."""
    return np.asarray(x.max(axis, keepdims=keepdims, initial=np.float32(-np.inf)))


def place(attributes: Attributes, rank: int) -> int:
    """The axis counted from the front.

    Raises:
        ValueError: x has no such axis.
    """
    axis = attributes["axis"]
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise ValueError(f"axis {axis} is none of the {rank} that x has")
    return axis + rank if axis < 0 else axis


def split(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """Elements before, along and after an axis of a shape in row order."""
    before, after = 1, 1
    for size in shape[:axis]:
        before *= size
    for size in shape[axis + 1 :]:
        after *= size
    return before, shape[axis], after


def types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """x without the axis, or with 1 in its place."""
    shape = dims.sizes(inputs["x"])
    axis = place(attributes, len(shape))
    kept = (1,) if attributes["keepdims"] else ()
    return {"y": dims.f32(*shape[:axis], *kept, *shape[axis + 1 :])}


def cost(inputs: Types, attributes: Attributes) -> Cost:
    """One operation per element."""
    made = types(inputs, attributes).values()
    return Cost(float(dims.elements(inputs["x"])), dims.traffic(inputs.values(), made))


def cases(rng: np.random.Generator) -> Iterator[Case]:
    """Every axis of three, long and short ones, none, one element, NaN and infinities."""
    for name, shape, axis, keepdims in (
        ("last_of_two", (5, 37), -1, False),
        ("first_of_two", (37, 5), 0, False),
        ("middle_kept", (3, 19, 7), 1, True),
        ("first_of_three", (4, 3, 5), -3, False),
        ("last_kept", (3, 4, 65), 2, True),
        ("vector", (130,), 0, False),
        ("one_element", (1,), 0, True),
        ("whole_groups", (64, 256), 1, False),
        ("long", (1, 9001), 1, False),
        ("long_columns", (9001, 2), 0, False),
        ("size_one", (6, 1, 5), 1, False),
        ("empty_batch", (0, 5), 1, False),
        ("nothing_to_add", (3, 0, 2), 1, False),
        ("nothing_along_rows", (3, 0), 1, True),
    ):
        x = samples.normal(rng, *shape, scale=2.0)
        yield Case(name, {"x": x}, {"axis": axis, "keepdims": keepdims})
    nan = samples.with_nan(samples.normal(rng, 5, 70), 2, 7)
    infinite = samples.f32([[np.inf, 1.0, 2.0], [-np.inf, -np.inf, -np.inf], [1.0, -np.inf, 0.0]])
    for axis in (0, 1):
        yield Case(f"nan_axis_{axis}", {"x": nan}, {"axis": axis})
        yield Case(f"infinities_axis_{axis}", {"x": infinite}, {"axis": axis})


def _reduction(
    name: str, function: Function, tolerance: Tolerance, gradient: Gradient
) -> OperatorSpec:
    def reference(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
        x: F32 = inputs["x"].values.view(np.float32)
        axis = place(attributes, x.ndim)
        return {"y": dense(function(x, axis, bool(attributes["keepdims"])))}

    return OperatorSpec(
        name=name,
        inputs=(Port("x"),),
        outputs=(Port("y"),),
        infer=types,
        reference=reference,
        cost=cost,
        cases=cases,
        attributes=(
            Attribute("axis", int, None, "the axis that goes; negative ones count from the last"),
            Attribute("keepdims", bool, False, "whether it stays as an axis of size 1"),
        ),
        tolerance=tolerance,
        gradient=gradient,
    )


REDUCE_SUM = _reduction("reduce_sum", total, _ROUNDED, plain_gradients.reduce_sum)
REDUCE_MEAN = _reduction("reduce_mean", mean, _ROUNDED, plain_gradients.reduce_mean)
REDUCE_MAX = _reduction("reduce_max", largest, Tolerance(), plain_gradients.reduce_max)
