"""Neurons of NIR for steps of a given length: what a layer's operator is told, and its weights.

For a current S that is constant over a step, the equations are solved exactly.

    tau dv/dt = (v_leak - v) + R I          of v - v_leak stays d = exp(-dt / tau), R (1 - d) S come
    dv/dt = R I                             R dt S comes
    tau_syn dI/dt = -I + w_in S             I falls to a = exp(-dt / tau_syn), w_in (1 - a) S comes;
    tau_mem dv/dt = (v_leak - v) + R I      of v - v_leak stays b = exp(-dt / tau_mem), and

    R (K I + (1 - b - K) w_in S) comes, K = (a - b) tau_syn / (tau_syn - tau_mem), or b dt / tau_mem
    where both are the same.

Other simulators take one step of Euler's rule, forward, for all of dt; by that rule

    exp(-dt / tau) is replaced by 1 - dt / tau, and K by dt / tau_mem,  and what comes in
    reaches the potential a step later: 1 - b - K is 0.

Potentials are counted from v_leak in units of v_threshold - v_leak, which may differ between
neurons; decays and resets may not. A layer that was exported here is read as it was.
"""

from typing import Any, Literal, NamedTuple

import nir
import numpy as np
import numpy.typing as npt

from services.compressor.exporters import nir_neurons
from shared.contracts.errors import InvalidNetwork, UnsupportedOperator
from shared.operators.spec import Scalar
from shared.spiking.layers import NEVER
from shared.tensors.dtypes import F32

F64 = npt.NDArray[np.float64]
MOST_PLACES = 16
SILENT = (nir.LI, nir.I, nir.CubaLI)  # they only integrate
Rule = Literal["exact", "euler"]
NEURONS = (nir.LIF, nir.IF, nir.Threshold, nir.CubaLIF, *SILENT)


class Grid(NamedTuple):
    """Steps of time, and how equations are solved over one."""

    dt: float  # [s]
    rule: Rule = "exact"

    def left(self, tau: F64) -> F64:
        """What is left of a potential or a current after a step."""
        held = np.exp(-self.dt / tau) if self.rule == "exact" else 1.0 - self.dt / tau
        return np.asarray(held)

    def passed(self, slow: float, fast: float) -> float:
        """K, for time constants of the membrane and the synapse [s]."""
        if self.rule == "euler":
            return self.dt / slow
        return nir_neurons.share_passed(slow, fast, self.dt)


class Neuron(NamedTuple):
    """A layer's operator, its attributes, and what the rows of its weights are multiplied by."""

    operator: str
    attributes: dict[str, Scalar]
    factor: F64


def discretized(name: str, node: Any, size: int, grid: Grid) -> Neuron:
    """The step of a node of `size` neurons.

    Raises:
        InvalidNetwork: constants that are no neuron's; names them.
        UnsupportedOperator: constants differ between neurons that have to be the same.
    """
    if (ours := _kept(node, size, grid.dt)) is not None:
        return ours
    given: dict[str, Scalar] = {}
    span = np.ones(size)
    if isinstance(node, SILENT):
        leak = _same(name, "v_leak", _each(node, "v_leak", size, 0.0))
        given |= {"threshold": NEVER, "leak": leak}
    else:
        span, given["reset"] = _levels(name, node, size)
    if isinstance(node, nir.CubaLIF | nir.CubaLI):
        return _filtered(name, node, size, grid, given, span)
    decay, gain = _step(name, node, size, grid)
    return Neuron("lif_layer", {"decay": decay, **given}, gain / span)


def places(name: str, weight: F32, bias: F32 | None) -> int:
    """Binary places of weights: as many as leave room for every sum of them in 32 bits, 16 at most.

    Args:
        weight: (neurons, all that they read) float32.
        bias: (neurons,) float32.

    Raises:
        InvalidNetwork: sums do not fit even without places.
    """
    sums = np.abs(weight).sum(axis=1, dtype=np.float64) + (0.0 if bias is None else np.abs(bias))
    largest = float(sums.max(initial=0.0))
    room = 2**31 - weight.shape[1] - 1  # each code may be rounded up by a half
    found = next((f for f in range(MOST_PLACES, -1, -1) if largest * 2**f <= room), None)
    if found is None:
        raise InvalidNetwork(
            f"weights of {name!r} add up to {largest:g} times the way to a threshold, over the "
            f"limit of {room}"
        )
    return found


def _kept(node: Any, size: int, dt: float) -> Neuron | None:
    """A layer that was exported here, as long as the constants of its node still say the same."""
    found = nir_neurons.read(node.metadata, dt=dt)
    if found is None:
        return None
    operator, attributes, (kind, fields) = found
    same = type(node).__name__ == kind and all(
        np.allclose(getattr(node, name), value, rtol=1e-9, atol=1e-12)
        for name, value in fields.items()
    )
    return Neuron(operator, dict(attributes), np.ones(size)) if same else None


def _filtered(
    name: str, node: Any, size: int, grid: Grid, given: dict[str, Scalar], span: F64
) -> Neuron:
    """Currents are counted so that weights are as large as those of LIF of the same constants:
    smaller ones would lose places."""
    slow, fast = (_tau(name, node, field, size, grid) for field in ("tau_mem", "tau_syn"))
    tau = _same(name, "tau_mem", slow), _same(name, "tau_syn", fast)
    stays, left = (float(grid.left(np.asarray(one))) for one in tau)
    passed = grid.passed(*tau)
    scale = _each(node, "r", size, 1.0) * _each(node, "w_in", size, 1.0) / span
    filters = {
        "decay": stays,
        "synapse": left,
        "couple": passed * (1 - left) / (1 - stays),
        "direct": 0.0 if grid.rule == "euler" else ((1 - stays) - passed) / (1 - stays),
    }
    return Neuron("cuba_layer", {**filters, **given}, scale * (1 - stays))


def _step(name: str, node: Any, size: int, grid: Grid) -> tuple[float, F64]:
    """What is left of a potential after a step, and what a unit of current adds."""
    if isinstance(node, nir.Threshold):
        return 0.0, np.ones(size)
    resistance = _each(node, "r", size, 1.0)
    if isinstance(node, nir.IF | nir.I):
        return 1.0, resistance * grid.dt
    left = grid.left(_tau(name, node, "tau", size, grid))
    return _same(name, "tau", left), resistance * (1.0 - left)


def _tau(name: str, node: Any, field: str, size: int, grid: Grid) -> F64:
    tau = _each(node, field, size, 1.0)
    if not (tau > 0).all():
        raise InvalidNetwork(f"{field} of {name!r} is {tau.min()} s; it must be positive")
    if grid.rule == "euler" and tau.min() < grid.dt:
        raise InvalidNetwork(
            f"{field} of {name!r} is {tau.min()} s, shorter than a step of {grid.dt} s: by Euler's "
            "rule it would oscillate"
        )
    return tau


def _levels(name: str, node: Any, size: int) -> tuple[F64, float]:
    """From the leak potential to the threshold, and the reset in units of that."""
    if isinstance(node, nir.Threshold):
        return _above(name, _each(node, "threshold", size, 1.0)), 0.0
    leak = _each(node, "v_leak", size, 0.0)
    span = _above(name, _each(node, "v_threshold", size, 1.0) - leak)
    reset = _same(name, "v_reset", (_each(node, "v_reset", size, 0.0) - leak) / span)
    if not reset < 1.0:
        raise InvalidNetwork(f"the reset of {name!r} is not below its threshold")
    return span, reset


def _above(name: str, span: F64) -> F64:
    if not (span > 0).all():
        raise InvalidNetwork(
            f"a threshold of {name!r} is {span.min():g} above its leak potential; it must be more"
        )
    return span


def _each(node: Any, field: str, size: int, default: float) -> F64:
    """A constant of every neuron."""
    value = getattr(node, field, None)
    held = np.full(1, default) if value is None else np.asarray(value, np.float64).reshape(-1)
    return np.array(np.broadcast_to(held, size) if held.size == 1 else held, np.float64)


def _same(name: str, field: str, values: F64) -> float:
    """The one value of all neurons."""
    if values.size and np.ptp(values) > 1e-6 * max(abs(values).max(), 1e-12):
        raise UnsupportedOperator(
            f"{field} differs between the neurons of {name!r}: {values.min():g} to "
            f"{values.max():g}; a layer has one here"
        )
    return float(values[0])
