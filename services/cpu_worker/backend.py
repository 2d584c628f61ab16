"""The CPU backend: BLAS and scipy where they are faster, the operator's reference everywhere else.

A dense activation may lie in memory column by column: a product is taken as ``weight @ x.T``, its
transposed result is already what the next product wants, and only a download restores row order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from shared.operators import int4, reductions, validate
from shared.operators.spec import Attributes, OperatorSpec, Prepared, Types
from shared.quantization import affine
from shared.sparse import compressed
from shared.tensors import dtypes, layouts
from shared.tensors.dtypes import F32, Array
from shared.tensors.layouts import Layout, Tensor, TensorType


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """A dense tensor, in whatever memory order the last product left it."""

    type: TensorType
    array: Array


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A tensor of another layout, and the matrix that products use in its place."""

    tensor: Tensor
    matrix: Any  # F32 for integer codes, scipy's csr_array for CSR, None for the other layouts

    @property
    def type(self) -> TensorType:
        """Layout, element type and shape."""
        return self.tensor.type


Held = Plain | Packed
Arrays = dict[str, Array]


class CpuBackend:
    """Runs every operator of the catalogue in host memory, on the calling thread."""

    name = "cpu"
    thread_bound = False  # any thread may call it, one at a time

    def __init__(self) -> None:
        self._passed = validate.Passed()

    def supports(self, spec: OperatorSpec, inputs: Types) -> bool:
        """Always: what has no fast path here has its reference."""
        return True

    def upload(self, tensor: Tensor) -> Held:
        """Keep a tensor; a weight in a packed layout is prepared for products once, here."""
        if tensor.layout is Layout.DENSE:
            return Plain(tensor.type, tensor.values)
        return Packed(tensor, _matrix(tensor))

    def download(self, resident: Held) -> Tensor:
        """The tensor in row order; a view when it already is."""
        return _tensor(resident)

    def release(self, resident: Held) -> None:
        """Nothing to do: memory goes with the last reference."""

    def run(
        self, spec: OperatorSpec, inputs: Mapping[str, Held], attributes: Attributes
    ) -> dict[str, Held]:
        """Run one operator call; NaN and infinities are results here, not warnings.

        The call is checked even though numpy would refuse most misfits: it would spread a bias of
        one element over all outputs.

        Raises:
            ValueError: the call does not fit its spec; see `validate.call`.
        """
        types = {port: held.type for port, held in inputs.items()}
        return self._compute(spec, self._passed.call(spec, types, attributes), inputs)

    def prepare(self, spec: OperatorSpec, types: Types, attributes: Attributes) -> Prepared:
        """See `spec.Preparing`: the check is done here, once."""
        filled = validate.call(spec, types, attributes)
        return partial(self._compute, spec, filled)

    def _compute(
        self, spec: OperatorSpec, filled: Attributes, inputs: Mapping[str, Held]
    ) -> dict[str, Held]:
        with np.errstate(all="ignore"):
            if (fast := _FAST.get(spec.name)) is not None:
                made = fast(inputs, filled)
                return {port: _plain(array) for port, array in made.items()}
            tensors = {port: self.download(held) for port, held in inputs.items()}
            outputs = spec.reference(tensors, filled)
            return {port: self.upload(tensor) for port, tensor in outputs.items()}

    def synchronize(self) -> None:
        """Nothing to wait for: `run` returns when the work is done."""


def _tensor(held: Held) -> Tensor:
    if isinstance(held, Packed):
        return held.tensor
    return layouts.dense(held.array, held.type.dtype)


def _plain(array: Array) -> Plain:
    return Plain(TensorType(Layout.DENSE, dtypes.of(array), array.shape), array)


def _matrix(tensor: Tensor) -> Any:
    """The form of a packed weight that a product reads; None when it has no product.

    INT8 codes become float32 once: numpy has no integer product at BLAS speed, and every code is
    exact in float32, so ``(x codes.T) * scale`` keeps its meaning. INT4 codes are multiplied by the
    scales of their groups at once.
    """
    if tensor.layout is Layout.INT8_CHANNEL:
        return tensor.parts["codes"].astype(np.float32)
    if tensor.layout is Layout.INT4_GROUP:
        return affine.dequantize(tensor)
    if tensor.layout is Layout.CSR and tensor.dtype is dtypes.Dtype.F32:
        return compressed.to_scipy(compressed.from_tensor(tensor))
    return None


def _gemm_f32(inputs: Mapping[str, Held], attributes: Attributes) -> Arrays:
    product: F32 = _array(inputs["weight"]) @ _array(inputs["x"]).T
    return {"y": _finish(product, inputs, attributes).T}


def _gemm_i8(inputs: Mapping[str, Held], attributes: Attributes) -> Arrays:
    weight = _packed(inputs["weight"])
    product: F32 = np.asarray(weight.matrix @ _array(inputs["x"]).T)
    product *= weight.tensor.parts["scale"].view(np.float32)
    return {"y": _finish(product, inputs, attributes).T}


def _gemm_i4(inputs: Mapping[str, Held], attributes: Attributes) -> Arrays:
    """BLAS for float activations; the reference for bytes, whose sums are exact integers there."""
    weight = _packed(inputs["weight"])
    if attributes["x_bits"] == 8:
        tensors = {port: _tensor(held) for port, held in inputs.items()}
        return {"y": int4.gemm_i4(tensors, attributes)["y"].values}
    product: F32 = np.asarray(weight.matrix @ _array(inputs["x"]).T)
    return {"y": _finish(product, inputs, attributes).T}


def _spmm_csr(inputs: Mapping[str, Held], attributes: Attributes) -> Arrays:
    weight, x = _packed(inputs["weight"]), _array(inputs["x"])
    batch_first = attributes["batch_first"]
    product: F32 = np.asarray(weight.matrix @ (x.T if batch_first else x))
    product = _finish(product, inputs, attributes)
    return {"y": product.T if batch_first else product}


def _finish(product: F32, inputs: Mapping[str, Held], attributes: Attributes) -> F32:
    """Add the bias and clip at zero, in place, on a product with one row per output.

    Args:
        product: (m, n) float32, owned by the caller.
        inputs: `bias` (m,) float32 if there is one.
        attributes: `activation`.
    """
    if "bias" in inputs:
        product += _array(inputs["bias"])[:, np.newaxis]
    if attributes["activation"] == "relu":
        np.maximum(product, 0.0, out=product)
    return product


def _lif_step(inputs: Mapping[str, Held], attributes: Attributes) -> Arrays:
    """One buffer becomes the potential, then the next potential; see the operator for the rule."""
    rest, reset, threshold = (_number(attributes, f"v_{what}") for what in _LIF_LEVELS)
    potential = _array(inputs["v"]) - np.float32(rest)
    potential *= np.float32(_number(attributes, "decay"))
    potential += np.float32(rest)
    potential += np.float32(_number(attributes, "gain")) * _array(inputs["current"])
    fired = potential > np.float32(threshold)
    potential[fired] = reset
    return {"v_next": potential, "spikes": fired.astype(np.float32)}


_LIF_LEVELS = ("rest", "reset", "threshold")


def _stdp_update(inputs: Mapping[str, Held], attributes: Attributes) -> Arrays:
    """Two outer products straight into one copy of the weight; see the operator for the rule."""
    pre, post = _array(inputs["pre_spikes"]), _array(inputs["post_spikes"])
    pre_trace = np.float32(_number(attributes, "decay_pre")) * _array(inputs["pre_trace"])
    post_trace = np.float32(_number(attributes, "decay_post")) * _array(inputs["post_trace"])
    weight = np.multiply.outer(np.float32(_number(attributes, "a_plus")) * post, pre_trace)
    weight += _array(inputs["weight"])
    weight -= np.multiply.outer(np.float32(_number(attributes, "a_minus")) * post_trace, pre)
    low, high = (np.float32(_number(attributes, name)) for name in ("w_min", "w_max"))
    np.clip(weight, low, high, out=weight)
    return {
        "weight_next": weight,
        "pre_trace_next": pre_trace + pre,
        "post_trace_next": post_trace + post,
    }


def _reduction(function: reductions.Function) -> Callable[..., Arrays]:
    """A reduction of whatever memory order x has."""

    def reduce(inputs: Mapping[str, Held], attributes: Attributes) -> Arrays:
        x = _array(inputs["x"])
        axis = reductions.place(attributes, x.ndim)
        return {"y": function(x, axis, bool(attributes["keepdims"]))}

    return reduce


def _packed(held: Held) -> Packed:
    assert isinstance(held, Packed)  # the port's layout
    return held


def _array(held: Held) -> F32:
    assert isinstance(held, Plain)  # the port's layout
    array: npt.NDArray[np.float32] = held.array.view(np.float32)
    return array


def _number(attributes: Attributes, name: str) -> float:
    value = attributes[name]
    assert isinstance(value, int | float)  # the attribute's kind
    return float(value)


_FAST: dict[str, Callable[[Mapping[str, Held], Attributes], Arrays]] = {
    "gemm_f32": _gemm_f32,
    "gemm_i8": _gemm_i8,
    "gemm_i4": _gemm_i4,
    "spmm_csr": _spmm_csr,
    "lif_step": _lif_step,
    "stdp_update": _stdp_update,
    "reduce_sum": _reduction(reductions.total),
    "reduce_mean": _reduction(reductions.mean),
    "reduce_max": _reduction(reductions.largest),
}
