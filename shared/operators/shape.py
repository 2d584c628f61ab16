"""Operators that move elements or only rename their places; no arithmetic."""

from collections.abc import Iterator
from math import prod

import numpy as np

from shared.operators import dims, plain_gradients, samples
from shared.operators.spec import (
    Attribute,
    Attributes,
    Case,
    Cost,
    OperatorSpec,
    Port,
    Tensors,
    Types,
)
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense


def _integers(attributes: Attributes, name: str) -> tuple[int, ...]:
    value = attributes[name]
    if not isinstance(value, tuple):
        raise ValueError(f"attribute {name!r} is a tuple of integers, got {value!r}")
    return value


# reshape


def reshape(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """The same elements in the same order under another shape."""
    x = inputs["x"]
    shape = reshaped(x.shape, _integers(attributes, "shape"))
    return {"y": dense(x.values.reshape(shape), x.dtype)}


def reshaped(shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that `wanted` asks for.

    A 0 keeps the dimension at its place; one -1 takes what the dimensions that are not kept leave,
    so a batch may be empty.

    Raises:
        ValueError: the elements do not fit, or `wanted` breaks a rule above.
    """
    if len(wanted) > dims.MAX_RANK or any(size < -1 for size in wanted) or wanted.count(-1) > 1:
        raise ValueError(f"shape has at most {dims.MAX_RANK} sizes and one -1, got {wanted}")
    kept = {place for place, size in enumerate(wanted) if size == 0}
    if kept and max(kept) >= len(shape):
        raise ValueError(f"shape {wanted} keeps dimension {max(kept)}, x has shape {shape}")
    left = prod(size for place, size in enumerate(shape) if place not in kept)
    named = prod(size for size in wanted if size > 0)
    free = left // named
    full = tuple(
        shape[place] if size == 0 else free if size == -1 else size
        for place, size in enumerate(wanted)
    )
    if prod(full) != prod(shape) or (-1 in wanted and named * free != left):
        raise ValueError(f"x of shape {shape} does not fit shape {wanted}")
    return full


def reshape_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """x of any shape gives y of the wanted one."""
    x = inputs["x"]
    shape = reshaped(dims.sizes(x), _integers(attributes, "shape"))
    return {"y": TensorType(Layout.DENSE, x.dtype, shape)}


def reshape_cost(inputs: Types, attributes: Attributes) -> Cost:
    """Nothing moves."""
    return Cost(0.0, 0.0)


def reshape_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Kept and inferred dimensions, scalars, an empty batch, another element type."""
    x = samples.normal(rng, 2, 3, 4)
    for name, shape in (
        ("flatten", (-1,)),
        ("keep_batch", (0, -1)),
        ("split", (0, 3, 2, 2)),
        ("same", (2, 3, 4)),
        ("keep_all", (0, 0, 0)),
    ):
        yield Case(name, {"x": x}, {"shape": shape})
    yield Case("to_scalar", {"x": samples.normal(rng, 1, 1)}, {"shape": ()})
    yield Case("from_scalar", {"x": samples.normal(rng)}, {"shape": (1, 1)})
    yield Case("empty_batch", {"x": samples.zeros(0, 3, 4)}, {"shape": (0, -1)})
    whole = dense(np.arange(6, dtype=np.int64).reshape(2, 3))
    yield Case("integers", {"x": whole}, {"shape": (3, 2)})


RESHAPE = OperatorSpec(
    name="reshape",
    inputs=(Port("x", dtypes=tuple(Dtype)),),
    outputs=(Port("y", dtypes=tuple(Dtype)),),
    infer=reshape_types,
    reference=reshape,
    cost=reshape_cost,
    cases=reshape_cases,
    attributes=(
        Attribute("shape", tuple, None, "sizes; 0 keeps the dimension there, -1 once is the rest"),
    ),
    gradient=plain_gradients.reshape,
)


# transpose


def transpose(inputs: Tensors, attributes: Attributes) -> dict[str, Tensor]:
    """y[i_perm[0], i_perm[1], ...] = x[i_0, i_1, ...]."""
    return {"y": dense(np.transpose(inputs["x"].values, _integers(attributes, "perm")))}


def transpose_types(inputs: Types, attributes: Attributes) -> dict[str, TensorType]:
    """Dimension d of y is dimension perm[d] of x."""
    shape, perm = dims.sizes(inputs["x"]), _integers(attributes, "perm")
    if sorted(perm) != list(range(len(shape))):
        raise ValueError(f"perm must order the dimensions of x {shape}, got {perm}")
    if len(shape) > dims.MAX_RANK:
        raise ValueError(f"x has at most {dims.MAX_RANK} dimensions, got shape {shape}")
    return {"y": dims.f32(*(shape[place] for place in perm))}


def transpose_cost(inputs: Types, attributes: Attributes) -> Cost:
    """No arithmetic; every element read and written."""
    return Cost(0.0, 8.0 * dims.elements(inputs["x"]))


def transpose_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Matrices around tile edges, every order of three axes kept honest by unequal sizes."""
    for name, shape, perm in (
        ("scalar", (), ()),
        ("vector", (37,), (0,)),
        ("one_row", (1, 65), (1, 0)),
        ("odd_sizes", (19, 37), (1, 0)),
        ("whole_tiles", (64, 32), (1, 0)),
        ("large", (130, 67), (1, 0)),
        ("same_order", (3, 5, 7), (0, 1, 2)),
        ("batch_kept", (3, 5, 7), (0, 2, 1)),
        ("rotated", (3, 5, 7), (1, 2, 0)),
        ("channels_last", (2, 3, 5, 7), (0, 2, 3, 1)),
        ("rank_five", (2, 3, 1, 5, 4), (4, 1, 3, 0, 2)),
        ("empty_batch", (0, 3, 4), (2, 0, 1)),
        ("empty_with_long_axes", (2**20, 0, 2**31), (2, 1, 0)),
    ):
        yield Case(name, {"x": samples.normal(rng, *shape)}, {"perm": perm})
    nan = samples.with_nan(samples.normal(rng, 3, 5), 1, 2)
    yield Case("nan_moves", {"x": nan}, {"perm": (1, 0)})


TRANSPOSE = OperatorSpec(
    name="transpose",
    inputs=(Port("x"),),
    outputs=(Port("y"),),
    infer=transpose_types,
    reference=transpose,
    cost=transpose_cost,
    cases=transpose_cases,
    attributes=(Attribute("perm", tuple, None, "for each dimension of y, the one of x"),),
    gradient=plain_gradients.transpose,
)
