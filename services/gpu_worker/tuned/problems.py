"""What tuning measures: a closed list of calls for each operator, the most telling first.

Values are small whole numbers and scales powers of two wherever an operator sums up, so that every
order of summation gives the same bits and a wrong launch cannot hide in a tolerance.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import product

import numpy as np

from services.gpu_worker.tuned import space
from shared.operators import samples
from shared.operators.spec import Case, Scalar, Tensors, Types
from shared.sparse import compressed, convert, narrow
from shared.sparse.compressed import Axis, Compressed
from shared.tensors.dtypes import F32, Array, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

SEED = 580
DENSITY = 10  # one element in so many is stored
SIDE = 16  # of a block
GROUP = 64  # columns that share a scale of 4-bit codes
PATTERN = (2, 4)  # of an N:M weight
BATCHES = (64, 1, 8)  # rows of x of a product
TURNED = (False, Dtype.F32, 64)  # the same with columns of x
DENSE_SIZES = (1024, 4096)  # rows and columns of a weight
SPARSE_SIZE = 2048
MATRIX = (1024, 1024)  # of an elementwise call, or one along rows
DEPTH = 64  # columns of the factors of a sampled product
Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Problem:
    """One call to measure; its tensors are made when they are needed."""

    operator: str
    name: str
    types: Types
    make: Callable[[Rng], Tensors]
    attributes: Mapping[str, Scalar] = field(default_factory=dict)

    @property
    def shape(self) -> str:
        """Its shape class."""
        return space.of(self.operator).shape_class(self.types, self.attributes)

    def case(self) -> Case:
        """The call, the same every time."""
        return Case(self.name, self.make(np.random.default_rng(SEED)), self.attributes)


@cache
def of(operator: str) -> tuple[Problem, ...]:
    """The problems of an operator; none for one without tunables."""
    return tuple(_MAKERS[operator]()) if operator in _MAKERS else ()


def named(operator: str, name: str) -> Problem:
    """One problem.

    Raises:
        ValueError: the operator has no such problem.
    """
    found = next((problem for problem in of(operator) if problem.name == name), None)
    if found is None:
        raise ValueError(f"{operator:.80} has no problem {name!r:.80}")
    return found


def whole(rng: Rng, *shape: int) -> F32:
    """Whole numbers from -2 to 2 without 0, as float32."""
    drawn = rng.integers(1, 3, shape) * rng.choice((-1, 1), shape)
    made: F32 = drawn.astype(np.float32)
    return made


def _kind(*shape: int, dtype: Dtype = Dtype.F32, layout: Layout = Layout.DENSE) -> TensorType:
    return TensorType(layout, dtype, shape)


def _gemm_f32() -> Iterable[Problem]:
    for size in DENSE_SIZES:
        for n in BATCHES:
            types = {"x": _kind(n, size), "weight": _kind(size, size)}

            def make(rng: Rng, n: int = n, size: int = size) -> Tensors:
                return {"x": dense(whole(rng, n, size)), "weight": dense(whole(rng, size, size))}

            yield Problem("gemm_f32", f"{size}x{size}-n{n}", types, make)


def _gemm_i8() -> Iterable[Problem]:
    for size in DENSE_SIZES:
        for n in BATCHES:
            types = {"x": _kind(n, size), "weight": _kind(size, size, layout=Layout.INT8_CHANNEL)}

            def make(rng: Rng, n: int = n, size: int = size) -> Tensors:
                parts: dict[str, Array] = {
                    "codes": rng.integers(-127, 128, (size, size), dtype=np.int8),
                    "scale": np.full((size, 1), 0.25, np.float32),
                }
                weight = Tensor(Layout.INT8_CHANNEL, Dtype.F32, (size, size), parts)
                return {"x": dense(whole(rng, n, size)), "weight": weight}

            yield Problem("gemm_i8", f"{size}x{size}-n{n}", types, make)


def _gemm_i4() -> Iterable[Problem]:
    for size in DENSE_SIZES:
        for n, bits in product(BATCHES, (32, 8)):
            types = {"x": _kind(n, size), "weight": _kind(size, size, layout=Layout.INT4_GROUP)}

            def make(rng: Rng, n: int = n, size: int = size) -> Tensors:
                parts: dict[str, Array] = {
                    "codes": rng.integers(0, 256, (size, size // 2), dtype=np.uint8),
                    "scale": np.full((size, size // GROUP), 0.25, np.float32),
                }
                weight = Tensor(Layout.INT4_GROUP, Dtype.F32, (size, size), parts)
                return {"x": dense(whole(rng, n, size)), "weight": weight}

            yield Problem("gemm_i4", f"{size}x{size}-x{bits}-n{n}", types, make, {"x_bits": bits})


def _spmm(layout: Layout) -> Iterable[Problem]:
    size = SPARSE_SIZE
    for first, dtype, n in (*product((True,), (Dtype.F32, Dtype.I8), BATCHES), TURNED):
        weight = TensorType(layout, dtype, (size, size), _stored(layout, size) * size)
        shape = (n, size) if first else (size, n)

        def make(rng: Rng, shape: tuple[int, int] = shape, dtype: Dtype = dtype) -> Tensors:
            return {"weight": sparse(rng, layout, dtype), "x": dense(whole(rng, *shape))}

        name = f"{size}x{size}-{dtype}-n{n}" + ("" if first else "-columns")
        types = {"weight": weight, "x": _kind(*shape)}
        yield Problem(f"spmm_{layout}", name, types, make, {"batch_first": first})


def _sddmm() -> Iterable[Problem]:
    size = SPARSE_SIZE
    pattern = TensorType(Layout.CSR, Dtype.F32, (size, size), _stored(Layout.CSR, size) * size)
    types = {"pattern": pattern, "a": _kind(size, DEPTH), "b": _kind(size, DEPTH)}

    def make(rng: Rng) -> Tensors:
        factors = {port: dense(whole(rng, size, DEPTH)) for port in ("a", "b")}
        return {"pattern": sparse(rng, Layout.CSR, Dtype.F32), **factors}

    yield Problem("sddmm_csr", f"{size}x{size}-k{DEPTH}", types, make)


def _stored(layout: Layout, size: int) -> int:
    """Stored elements per row of `sparse`."""
    if layout is Layout.NM:
        return size // PATTERN[1] * PATTERN[0]
    return size // (SIDE * DENSITY) * SIDE if layout is Layout.BLOCK else size // DENSITY


def sparse(rng: Rng, layout: Layout, dtype: Dtype) -> Tensor:
    """A square weight of SPARSE_SIZE in which every row stores as many elements."""
    unit = SIDE if layout is Layout.BLOCK else 1
    lines = SPARSE_SIZE // unit
    step, kept = (PATTERN[1], PATTERN[0]) if layout is Layout.NM else (DENSITY, 1)
    count = lines // step * kept
    offsets = rng.permuted(np.tile(np.arange(step), (lines, lines // step, 1)), axis=2)
    starts = np.arange(lines // step)[:, None] * step
    places = np.sort(starts + offsets[:, :, :kept], axis=2).reshape(lines, count)
    if unit > 1:
        places = (places[:, :, None] * unit + np.arange(unit)).reshape(lines, -1).repeat(unit, 0)
    indptr = np.arange(SPARSE_SIZE + 1, dtype=np.int32) * np.int32(places.shape[1])
    held = Compressed(
        Axis.ROWS,
        (SPARSE_SIZE, SPARSE_SIZE),
        indptr,
        places.reshape(-1).astype(np.int32),
        whole(rng, places.size),
    )
    tensor = convert.to_layout(
        compressed.to_tensor(held), layout, block=(SIDE, SIDE), pattern=PATTERN
    )
    return tensor if dtype is Dtype.F32 else _codes(tensor, dtype)


def _codes(tensor: Tensor, dtype: Dtype) -> Tensor:
    """Stored in fewer bits, with scales that no sum depends on."""
    narrowed = narrow.narrow(tensor, dtype)
    parts = dict(narrowed.parts)
    parts["scale"] = np.full_like(parts["scale"], 0.25)
    return Tensor(narrowed.layout, narrowed.dtype, narrowed.shape, parts)


def _items(operator: str, *ports: str, **attributes: Scalar) -> Iterable[Problem]:
    """Any function of elements, of rows, or of two matrices."""

    def make(rng: Rng) -> Tensors:
        if operator.startswith("reduce"):  # sums that are exact in any order
            return {port: dense(whole(rng, *MATRIX)) for port in ports}
        return {port: samples.normal(rng, *MATRIX) for port in ports}

    types = dict.fromkeys(ports, _kind(*MATRIX))
    yield Problem(operator, "x".join(map(str, MATRIX)), types, make, attributes)


def _stdp() -> Iterable[Problem]:
    post, pre = MATRIX
    sizes = {"pre_spikes": pre, "post_spikes": post, "pre_trace": pre, "post_trace": post}
    types = {"weight": _kind(*MATRIX)} | {port: _kind(size) for port, size in sizes.items()}

    def make(rng: Rng) -> Tensors:
        drawn = {
            port: samples.spikes(rng, size) if "spikes" in port else samples.normal(rng, size)
            for port, size in sizes.items()
        }
        return {"weight": samples.normal(rng, *MATRIX), **drawn}

    attributes = {"a_plus": 0.5, "a_minus": 0.25, "decay_pre": 0.5, "decay_post": 0.5}
    yield Problem("stdp_update", f"{post}x{pre}", types, make, attributes)


_MAKERS: dict[str, Callable[[], Iterable[Problem]]] = {
    "gemm_f32": _gemm_f32,
    "gemm_i8": _gemm_i8,
    "gemm_i4": _gemm_i4,
    "spmm_csr": partial(_spmm, Layout.CSR),
    "spmm_csc": partial(_spmm, Layout.CSC),
    "spmm_block": partial(_spmm, Layout.BLOCK),
    "spmm_sell": partial(_spmm, Layout.SELL),
    "spmm_nm": partial(_spmm, Layout.NM),
    "spmm_bitmask": partial(_spmm, Layout.BITMASK),
    "sddmm_csr": _sddmm,
    "lif_step": partial(_items, "lif_step", "v", "current", decay=0.5),
    "stdp_update": _stdp,
    "relu": partial(_items, "relu", "x"),
    "sigmoid": partial(_items, "sigmoid", "x"),
    "tanh": partial(_items, "tanh", "x"),
    "copy": partial(_items, "copy", "x"),
    "clip": partial(_items, "clip", "x", low=-0.5, high=0.5),
    "softmax": partial(_items, "softmax", "x"),
    "add": partial(_items, "add", "a", "b"),
    "mul": partial(_items, "mul", "a", "b"),
    "cast": partial(_items, "cast", "x", to="f16"),
    "reduce_sum": partial(_items, "reduce_sum", "x", axis=-1),
    "reduce_mean": partial(_items, "reduce_mean", "x", axis=-1),
    "reduce_max": partial(_items, "reduce_max", "x", axis=-1),
}
