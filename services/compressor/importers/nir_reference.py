"""Nodes of NIR in float64, as their definitions have them: what layers here are compared with.

Nothing is shared with the import: a convolution adds up shifted images, and neurons follow the
matrix exponential of their equations, z(t + dt) = exp(A dt) z(t) for z = (v, I, S, 1), exact for an
input S that is constant over a step.

    LIF, LI          tau dv/dt = (v_leak - v) + R S
    IF, I            dv/dt = R S
    CubaLIF, CubaLI  tau_syn dI/dt = -I + w_in S,  tau_mem dv/dt = (v_leak - v) + R I
    Threshold        v = S

A neuron spikes at the end of a step if v > v_threshold, and v is v_reset then.

Source: Pedersen et al. 2024, "Neuromorphic intermediate representation", table 1.
"""

from itertools import product
from typing import Any, NamedTuple

import nir
import numpy as np
import numpy.typing as npt
from scipy import linalg

F64 = npt.NDArray[np.float64]
Bits = npt.NDArray[np.bool_]
V, CURRENT, INPUT, ONE = range(4)  # of z


class Ran(NamedTuple):
    """What neurons did in every step."""

    spikes: Bits  # (n, steps, m)
    v: F64  # (n, steps, m) potentials after each step and its resets


def linear(node: Any, x: F64) -> F64:
    """A node without neurons on values (rows, ...)."""
    flat = x.reshape(len(x), -1)
    if isinstance(node, nir.Conv1d | nir.Conv2d):
        return _convolved(node, x)
    if isinstance(node, nir.SumPool2d | nir.AvgPool2d):
        return _pooled(node, x)
    if isinstance(node, nir.Scale):
        return np.asarray(flat * np.ravel(node.scale))
    if isinstance(node, nir.Affine | nir.Linear):
        bias = node.bias if isinstance(node, nir.Affine) else 0.0
        return np.asarray(flat @ np.asarray(node.weight, np.float64).T + bias)
    return flat  # an end of a graph, or Flatten


def neurons(node: Any, current: F64, *, dt: float) -> Ran:
    """Neurons under currents (n, steps, m), constant over each step of dt [s]."""
    n, steps, m = current.shape
    moved = linalg.expm(_equations(node, m) * dt)
    leak, threshold = _each(node, "v_leak", m, 0.0), _each(node, "v_threshold", m, np.inf)
    if isinstance(node, nir.Threshold):
        threshold = _each(node, "threshold", m, np.inf)
    reset = _each(node, "v_reset", m, 0.0)
    state = np.zeros((n, m, 4))
    state[..., V], state[..., ONE] = leak, 1.0
    spikes, v = np.zeros(current.shape, bool), np.zeros(current.shape)
    for step in range(steps):
        state[..., INPUT] = current[:, step]
        if isinstance(node, nir.Threshold):
            state[..., V] = current[:, step]
        else:
            state = np.einsum("mij,nmj->nmi", moved, state)
        spikes[:, step] = state[..., V] > threshold
        state[..., V] = np.where(spikes[:, step], reset, state[..., V])
        v[:, step] = state[..., V]
    return Ran(spikes, v)


def _equations(node: Any, m: int) -> F64:
    """A of every neuron: (m, 4, 4), dz/dt = A z."""
    a = np.zeros((m, 4, 4))
    resistance = _each(node, "r", m, 1.0)
    if isinstance(node, nir.IF | nir.I):
        a[:, V, INPUT] = resistance
    elif isinstance(node, nir.CubaLIF | nir.CubaLI):
        membrane, synapse = (_each(node, name, m, 1.0) for name in ("tau_mem", "tau_syn"))
        a[:, CURRENT, CURRENT], a[:, CURRENT, INPUT] = (
            -1 / synapse,
            _each(node, "w_in", m, 1.0) / synapse,
        )
        a[:, V, V], a[:, V, CURRENT] = -1 / membrane, resistance / membrane
        a[:, V, ONE] = _each(node, "v_leak", m, 0.0) / membrane
    elif not isinstance(node, nir.Threshold):
        tau = _each(node, "tau", m, 1.0)
        a[:, V, V], a[:, V, INPUT] = -1 / tau, resistance / tau
        a[:, V, ONE] = _each(node, "v_leak", m, 0.0) / tau
    return a


def _each(node: Any, name: str, m: int, default: float) -> F64:
    value = getattr(node, name, None)
    return np.broadcast_to(np.ravel(default if value is None else value), m).astype(np.float64)


def _convolved(node: Any, x: F64) -> F64:
    """The definition, a tap and a pair of channels after the other."""
    weight = np.asarray(node.weight, np.float64)
    axes = weight.ndim - 2
    outer, inner, *taps = weight.shape
    groups = int(node.groups)
    space = x.shape[-axes:] if node.input_shape is None else tuple(np.ravel(node.input_shape))
    image = x.reshape(len(x), inner * groups, *space)
    strides, dilations = _pair(node.stride, axes), _pair(node.dilation, axes)
    reach = [d * (k - 1) for d, k in zip(dilations, taps, strict=True)]
    padded = np.pad(image, [(0, 0), (0, 0), *_around(node.padding, reach)])
    sizes = [
        (size - whole - 1) // stride + 1
        for size, whole, stride in zip(padded.shape[2:], reach, strides, strict=True)
    ]
    y = np.zeros((len(x), outer, *sizes))
    for out, within, *at in product(range(outer), range(inner), *map(range, taps)):
        channel = out // (outer // groups) * inner + within
        seen = tuple(
            slice(tap * apart, tap * apart + stride * (size - 1) + 1, stride)
            for tap, apart, stride, size in zip(at, dilations, strides, sizes, strict=True)
        )
        y[:, out] += weight[(out, within, *at)] * padded[(slice(None), channel, *seen)]
    bias: F64 = np.broadcast_to(np.ravel(node.bias), outer).astype(np.float64)
    return np.asarray(y + bias.reshape(1, outer, *[1] * axes))


def _pooled(node: Any, x: F64) -> F64:
    taps, strides = _pair(node.kernel_size, 2), _pair(node.stride, 2)
    image = x.reshape(len(x), *x.shape[-3:])
    pads = [(zeros, zeros) for zeros in _pair(node.padding, 2)]
    padded = np.pad(image, [(0, 0), (0, 0), *pads])
    windows = np.lib.stride_tricks.sliding_window_view(padded, taps, axis=(2, 3))
    total = windows[:, :, :: strides[0], :: strides[1]].sum(axis=(-2, -1))
    share = 1 / np.prod(taps) if isinstance(node, nir.AvgPool2d) else 1.0
    return np.asarray(total * share)


def _around(padding: Any, reach: list[int]) -> list[tuple[int, int]]:
    if isinstance(padding, str):
        return [(k // 2, k - k // 2) if padding == "same" else (0, 0) for k in reach]
    return [(zeros, zeros) for zeros in _pair(padding, len(reach))]


def _pair(value: Any, axes: int) -> tuple[int, ...]:
    return tuple(int(one) for one in np.broadcast_to(np.ravel(value), axes))
