"""Gradients of dense products, of elementwise functions, and of what moves or sums elements.

Source: the chain rule; each is checked against differences of the operator's reference.
"""

import numpy as np

from shared.operators import attributes, fused
from shared.operators.spec import Backward
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Tensor, dense

_FLOATS = {Dtype.F16, Dtype.BF16, Dtype.F32, Dtype.F64}


def gemm(call: Backward) -> dict[str, Tensor]:
    """For y = act(x Wᵀ + b) and g before the activation: dx = g W, dW = gᵀ x, db = sum of g."""
    passed, x = fused.passed(call), _array(call.inputs["x"])
    found: dict[str, F32] = {}
    if "x" in call.wanted:
        found["x"] = passed @ _array(call.inputs["weight"])
    if "weight" in call.wanted:
        found["weight"] = passed.T @ x
    if "bias" in call.wanted and "bias" in call.inputs:
        found["bias"] = passed.sum(axis=0)
    return _tensors(found)


def relu(call: Backward) -> dict[str, Tensor]:
    """Passes where the result is positive; 0 at 0."""
    return _x(_outer(call) * (_array(call.outputs["y"]) > 0))


def sigmoid(call: Backward) -> dict[str, Tensor]:
    """g y (1 - y)."""
    y = _array(call.outputs["y"])
    return _x(_outer(call) * y * (1 - y))


def tanh(call: Backward) -> dict[str, Tensor]:
    """g (1 - y²)."""
    y = _array(call.outputs["y"])
    return _x(_outer(call) * (1 - y * y))


def copy(call: Backward) -> dict[str, Tensor]:
    """g."""
    return _x(_outer(call))


def cast(call: Backward) -> dict[str, Tensor]:
    """g between floats; whole numbers are steps, whose slope is 0."""
    floats = {call.inputs["x"].dtype, call.outputs["y"].dtype} <= _FLOATS
    return _x(_outer(call) if floats else np.zeros(_outer(call).shape, np.float32))


def quantize_i8(call: Backward) -> dict[str, Tensor]:
    """Straight through: g / scale where no code was saturated.

    The true slope is 0 almost everywhere. Source: Bengio et al. 2013, "Estimating or Propagating
    Gradients Through Stochastic Neurons".
    """
    scale, x = attributes.single(call.attributes, "scale"), _array(call.inputs["x"])
    zero = attributes.single(call.attributes, "zero")
    inside = (x >= (-128 - zero) * scale) & (x <= (127 - zero) * scale)
    return _x(_outer(call) * inside / scale)


def dequantize_i8(call: Backward) -> dict[str, Tensor]:
    """g × scale, with respect to the codes as numbers."""
    return _x(_outer(call) * attributes.single(call.attributes, "scale"))


def clip(call: Backward) -> dict[str, Tensor]:
    """Passes inside the bounds, bounds included."""
    x = _array(call.inputs["x"])
    low, high = (attributes.single(call.attributes, end) for end in ("low", "high"))
    return _x(_outer(call) * ((x >= low) & (x <= high)))


def softmax(call: Backward) -> dict[str, Tensor]:
    """y (g - sum of g y over the last axis)."""
    y, outer = _array(call.outputs["y"]), _outer(call)
    return _x(y * (outer - (outer * y).sum(axis=-1, keepdims=True)))


def add(call: Backward) -> dict[str, Tensor]:
    """g to both; summed to b's shape where b is spread."""
    outer = _outer(call)
    return _wanted(call, {"a": outer, "b": _gathered(outer, call.inputs["b"].shape)})


def mul(call: Backward) -> dict[str, Tensor]:
    """g b to a, g a to b, summed where b is spread."""
    outer = _outer(call)
    a, b = _array(call.inputs["a"]), _array(call.inputs["b"])
    return _wanted(call, {"a": outer * b, "b": _gathered(outer * a, b.shape)})


def reshape(call: Backward) -> dict[str, Tensor]:
    """g in the shape of x."""
    return _x(_outer(call).reshape(call.inputs["x"].shape))


def transpose(call: Backward) -> dict[str, Tensor]:
    """g with its dimensions put back."""
    perm = np.array(attributes.sizes(call.attributes, "perm"), np.int64)
    return _x(np.transpose(_outer(call), np.argsort(perm)))


def reduce_sum(call: Backward) -> dict[str, Tensor]:
    """g, spread over the axis."""
    return _x(np.broadcast_to(_spread(call, _outer(call)), call.inputs["x"].shape))


def reduce_mean(call: Backward) -> dict[str, Tensor]:
    """g over the number of elements, spread over the axis."""
    x = call.inputs["x"]
    share = np.float32(1 / max(x.shape[_axis(call)], 1))
    return _x(np.broadcast_to(_spread(call, _outer(call)) * share, x.shape))


def reduce_max(call: Backward) -> dict[str, Tensor]:
    """g to the first element that is the largest."""
    x, axis = _array(call.inputs["x"]), _axis(call)
    found = np.zeros(x.shape, dtype=np.float32)
    if x.shape[axis]:
        first = np.expand_dims(x.argmax(axis=axis), axis)
        np.put_along_axis(found, first, _spread(call, _outer(call)), axis)
    return _x(found)


def _axis(call: Backward) -> int:
    return attributes.whole(call.attributes, "axis") % call.inputs["x"].values.ndim


def _spread(call: Backward, outer: F32) -> F32:
    """g with the reduced axis as one of size 1."""
    return outer if call.attributes["keepdims"] else np.expand_dims(outer, _axis(call))


def _gathered(outer: F32, shape: tuple[int, ...]) -> F32:
    """g summed to the shape of an operand that was spread: equal, last axis, or ()."""
    if outer.shape == shape:
        return outer
    axes = tuple(range(outer.ndim - len(shape)))
    return np.asarray(outer.sum(axis=axes, dtype=np.float32))


def _wanted(call: Backward, found: dict[str, F32]) -> dict[str, Tensor]:
    return _tensors({port: slope for port, slope in found.items() if port in call.wanted})


def _x(slope: F32) -> dict[str, Tensor]:
    return _tensors({"x": slope})


def _tensors(found: dict[str, F32]) -> dict[str, Tensor]:
    return {port: dense(np.asarray(slope, dtype=np.float32)) for port, slope in found.items()}


def _outer(call: Backward) -> F32:
    return _array(call.outer["y"])


def _array(tensor: Tensor) -> F32:
    array: F32 = tensor.values.view(np.float32)
    return array
