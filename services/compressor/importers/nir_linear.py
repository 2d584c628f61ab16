"""Linear nodes of NIR as matrices over all values of a step, in row-major order.

    y[o, p] = b[o] + sum over c, k of w[o, c, k] x[c, stride p + dilation k - padding]

is a convolution (in every direction of space; x is 0 outside). Of its matrix, the part of a tap k
is kron(w[:, :, k], P), where P says for every place of y which of x the tap lies on, and in two
directions is itself the kron of one in each. Pools are the same with ones, channel by channel; an
average divides by all taps, those outside as well.

Source: Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning".
"""

from itertools import product
from typing import Any, NamedTuple

import nir
import numpy as np
import numpy.typing as npt
from scipy import sparse

from shared.contracts.errors import InvalidNetwork, TooLarge, UnsupportedOperator

F64 = npt.NDArray[np.float64]
Map = F64 | sparse.csr_array  # (values after, values before)
Shape = tuple[int, ...]
MAX_BYTES = 256 * 2**20  # of a matrix written out in float32
CONVOLUTIONS, POOLS = (nir.Conv1d, nir.Conv2d), (nir.SumPool2d, nir.AvgPool2d)
LINEAR = (nir.Affine, nir.Linear, nir.Scale, nir.Flatten, *CONVOLUTIONS, *POOLS)


class Linear(NamedTuple):
    """What a node does to values: y = matrix x + bias, of that shape."""

    matrix: Map | None  # None: values stay as they are
    bias: F64 | None
    shape: Shape


class _Window(NamedTuple):
    """Taps along one direction of space."""

    size: int
    taps: int
    stride: int
    dilation: int
    before: int  # zeros in front
    after: int

    @property
    def places(self) -> int:
        """How often it fits."""
        reach = self.dilation * (self.taps - 1) + 1
        return (self.size + self.before + self.after - reach) // self.stride + 1


def linear(name: str, node: Any, shape: Shape) -> Linear:
    """The map of a node that reads values of a shape.

    Raises:
        InvalidNetwork: sizes that do not fit, or windows that are none.
        TooLarge: its matrix takes over `MAX_BYTES`.
        UnsupportedOperator: padding that may be read in two ways.
    """
    if isinstance(node, CONVOLUTIONS):
        return _convolution(name, node, shape)
    if isinstance(node, POOLS):
        return _pool(name, node, shape)
    count = _count(shape)
    if isinstance(node, nir.Flatten):
        return Linear(None, None, (count,))
    if isinstance(node, nir.Scale):
        scale = np.asarray(node.scale, np.float64).reshape(-1)
        if scale.size not in (1, count):
            raise InvalidNetwork(f"{name!r} takes {scale.size} values, {count} come before it")
        require_size(name, node, 1, count)
        every = np.broadcast_to(scale, count)
        return Linear(sparse.diags_array(every, format="csr"), None, shape)
    matrix = np.asarray(node.weight, np.float64)
    if matrix.ndim != 2:
        raise InvalidNetwork(f"the weight of {name!r} has shape {matrix.shape}, not two axes")
    if matrix.shape[1] != count:
        raise InvalidNetwork(f"{name!r} takes {matrix.shape[1]} values, {count} come before it")
    bias = _bias(name, node.bias, len(matrix)) if isinstance(node, nir.Affine) else None
    return Linear(matrix, bias, (len(matrix),))


def require_size(name: str, node: Any, rows: int, cols: int) -> None:
    """Refuse a matrix before it is written out.

    Raises:
        TooLarge: names the node, its bytes and the limit.
    """
    if (wanted := 4 * rows * cols) > MAX_BYTES:
        raise TooLarge(
            f"{name!r} ({type(node).__name__}): its matrix of {rows} x {cols} takes {wanted} "
            f"bytes, over the limit of {MAX_BYTES}"
        )


def _convolution(name: str, node: Any, shape: Shape) -> Linear:
    flat = isinstance(node, nir.Conv1d)
    axes = 1 if flat else 2
    weight = np.asarray(node.weight, np.float64)
    if weight.ndim != axes + 2 or 0 in weight.shape:
        raise InvalidNetwork(
            f"the weight of {name!r} has shape {weight.shape}, not {axes + 2} axes"
        )
    (groups,) = _whole(name, "groups", node.groups, 1, 1)
    outer, inner = weight.shape[:2]
    if outer % groups:
        raise InvalidNetwork(f"{name!r} has {outer} channels in {groups} groups")
    space = _space(name, node.input_shape, shape, inner * groups, axes)
    windows = _windows(name, node, space, weight.shape[2:])
    made = tuple(window.places for window in windows)
    rows, cols = outer * _count(made), inner * groups * _count(space)
    require_size(name, node, rows, cols)
    parts = []
    for taps in product(*(range(window.taps) for window in windows)):
        held = _grouped(weight.transpose(*range(2, weight.ndim), 0, 1)[taps], groups)
        places = _places(tuple(zip(windows, taps, strict=True)))
        parts.append(sparse.kron(held, places, format="coo"))
    matrix = _added(parts, (rows, cols))
    bias = np.repeat(_bias(name, node.bias, outer), _count(made))
    return Linear(matrix, bias, (outer, *made))


def _added(parts: list[Any], shape: tuple[int, int]) -> sparse.csr_array:
    at = np.concatenate([np.stack(part.coords) for part in parts], axis=1)
    values = np.concatenate([part.data for part in parts])
    return sparse.csr_array((values, (at[0], at[1])), shape=shape)


def _pool(name: str, node: Any, shape: Shape) -> Linear:
    channels, *space = _image(name, node, shape)
    taps = _whole(name, "kernel_size", node.kernel_size, 2, 1)
    strides = _whole(name, "stride", node.stride, 2, 1)
    padding = _whole(name, "padding", node.padding, 2, 0)
    windows = [
        _Window(size, kernel, stride, 1, zeros, zeros)
        for size, kernel, stride, zeros in zip(space, taps, strides, padding, strict=True)
    ]
    _require_places(name, windows)
    made = tuple(window.places for window in windows)
    require_size(name, node, channels * _count(made), _count(shape))
    rows, cols = (_covered(window) for window in windows)
    share = 1.0 / _count(taps) if isinstance(node, nir.AvgPool2d) else 1.0
    each = sparse.diags_array(np.full(channels, share))
    matrix = sparse.kron(each, sparse.kron(rows, cols), format="csr")
    return Linear(sparse.csr_array(matrix), None, (channels, *made))


def _windows(name: str, node: Any, space: Shape, taps: Shape) -> list[_Window]:
    axes = len(space)
    strides = _whole(name, "stride", node.stride, axes, 1)
    dilations = _whole(name, "dilation", node.dilation, axes, 1)
    if isinstance(node.padding, str):
        if node.padding == "same" and set(strides) != {1}:
            raise UnsupportedOperator(
                f"{name!r} ({type(node).__name__}): padding 'same' with strides {strides} is read "
                "in more than one way; say it in numbers"
            )
        same = int(node.padding == "same")
        reach = [same * d * (k - 1) for d, k in zip(dilations, taps, strict=True)]
        zeros = [(whole // 2, whole - whole // 2) for whole in reach]
    else:
        zeros = [(pad, pad) for pad in _whole(name, "padding", node.padding, axes, 0)]
    given = zip(space, taps, strides, dilations, zeros, strict=True)
    windows = [_Window(size, k, step, apart, *pads) for size, k, step, apart, pads in given]
    _require_places(name, windows)
    return windows


def _require_places(name: str, windows: list[_Window]) -> None:
    for window in windows:
        if window.places < 1:
            padded = window.size + window.before + window.after
            raise InvalidNetwork(
                f"{name!r}: {window.taps} taps {window.dilation} apart do not fit into {padded}"
            )


def _places(at: tuple[tuple[_Window, int], ...]) -> sparse.csr_array:
    """(places after, places before): one where a tap lies on a value, in all directions."""
    matrix = sparse.csr_array(np.ones((1, 1)))
    for window, tap in at:
        rows = np.arange(window.places)
        cols = rows * window.stride + tap * window.dilation - window.before
        held = (cols >= 0) & (cols < window.size)
        shape = (window.places, window.size)
        one = sparse.csr_array((np.ones(held.sum()), (rows[held], cols[held])), shape=shape)
        matrix = sparse.kron(matrix, one, format="csr")
    return matrix


def _covered(window: _Window) -> sparse.csr_array:
    """(places after, places before): one where a window without gaps covers a value."""
    first = np.arange(window.places)[:, np.newaxis] * window.stride - window.before
    at = np.arange(window.size)
    return sparse.csr_array(((at >= first) & (at < first + window.taps)).astype(np.float64))


def _grouped(weight: F64, groups: int) -> sparse.csr_array:
    """(channels after, channels before) of one tap: each group reads its own channels."""
    return sparse.csr_array(sparse.block_diag(np.split(weight, groups), format="csr"))


def _space(name: str, said: Any, shape: Shape, channels: int, axes: int) -> Shape:
    """The extent of what a convolution reads, as its node says or else as it arrives."""
    if said is not None:
        space = _whole(name, "input_shape", said, axes, 1)
    elif len(shape) <= axes:
        raise InvalidNetwork(f"{name!r} does not say its input_shape, and reads {shape}")
    else:
        space = shape[-axes:]
    if channels * _count(space) != _count(shape):
        raise InvalidNetwork(f"{name!r} takes {(channels, *space)}, {shape} comes before it")
    return space


def _image(name: str, node: Any, shape: Shape) -> Shape:
    """Channels, rows and columns; leading axes of one are none."""
    image = shape[-3:]
    if len(image) != 3 or _count(image) != _count(shape):
        kind = type(node).__name__
        raise InvalidNetwork(f"{name!r} ({kind}) takes channels, rows and columns, not {shape}")
    return image


def _bias(name: str, bias: Any, count: int) -> F64:
    held = np.asarray(bias, np.float64).reshape(-1)
    if held.size not in (1, count):
        raise InvalidNetwork(f"the bias of {name!r} has {held.size} values for {count}")
    return np.array(np.broadcast_to(held, count))


def _whole(name: str, field: str, value: Any, axes: int, least: int) -> Shape:
    """A whole number for each direction; one is for all."""
    held = np.asarray(value).reshape(-1)
    if held.dtype.kind not in "biuf" or held.size not in (1, axes):
        raise InvalidNetwork(f"{field} of {name!r} is {str(value)[:40]}, not {axes} numbers")
    numbers = tuple(int(one) for one in np.broadcast_to(held, axes))
    if any(one < least or one > MAX_BYTES for one in numbers) or (held != np.rint(held)).any():
        raise InvalidNetwork(f"{field} of {name!r} is {numbers}; at least {least} is needed")
    return numbers


def _count(shape: Shape) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
