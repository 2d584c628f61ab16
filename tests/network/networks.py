"""Networks for tests: MLPs of any layout, and shuffled shapes for hypothesis."""

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from shared.network.graph import Network, Step
from shared.quantization import affine
from shared.quantization.scheme import INT8_PER_CHANNEL
from shared.sparse import compressed
from shared.tensors import layouts
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType

OPERATORS = {"dense": "gemm_f32", "int8": "gemm_i8", "csr": "spmm_csr"}


def f32(*values: object) -> Tensor:
    return layouts.dense(np.array(values, np.float32))


def batched(*tail: int, dtype: Dtype = Dtype.F32) -> TensorType:
    return TensorType(Layout.DENSE, dtype, (None, *tail))


def mlp(sizes: tuple[int, ...], kinds: tuple[str, ...], *, seed: int = 0) -> Network:
    """x -> layers of the given kinds with bias, relu between them -> softmax -> y."""
    rng = np.random.default_rng(seed)
    weights: dict[str, Tensor] = {}
    steps, value = [], "x"
    for index, ((inputs, outputs), kind) in enumerate(zip(pairwise(sizes), kinds, strict=True)):
        matrix = rng.standard_normal((outputs, inputs)).astype(np.float32)
        weights[f"w{index}"] = stored(matrix, kind)
        weights[f"b{index}"] = layouts.dense(rng.standard_normal(outputs).astype(np.float32))
        last = index == len(kinds) - 1
        attributes = {"activation": "none" if last else "relu"}
        if kind == "csr":
            attributes |= {"batch_first": True}
        ports = {"x": value, "weight": f"w{index}", "bias": f"b{index}"}
        value = f"h{index}"
        steps.append(Step(f"layer{index}", OPERATORS[kind], ports, {"y": value}, attributes))
    steps.append(Step("scores", "softmax", {"x": value}, {"y": "y"}))
    return Network({"x": batched(sizes[0])}, ("y",), tuple(steps), weights)


def stored(matrix: F32, kind: str) -> Tensor:
    match kind:
        case "int8":
            return affine.quantize(matrix, INT8_PER_CHANNEL)
        case "csr":
            kept = np.where(np.abs(matrix) > 1, matrix, np.float32(0))
            return compressed.to_tensor(compressed.compress(kept))
        case _:
            return layouts.dense(matrix)


@st.composite
def mlps(draw: st.DrawFn) -> Network:
    sizes = tuple(draw(st.lists(st.integers(1, 17), min_size=2, max_size=5)))
    kinds = tuple(draw(st.sampled_from(sorted(OPERATORS))) for _ in sizes[1:])
    return mlp(sizes, kinds, seed=draw(st.integers(0, 1000)))
