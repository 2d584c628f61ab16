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

Potentials are counted from v_leak in units of v_threshold - v_leak. Where all else is the same for
all neurons of a node they are a layer; where it differs, a population of its own constants. A layer
that was exported here is read as it was.
"""

from typing import Any, Literal, NamedTuple

import nir
import numpy as np
import numpy.typing as npt

from services.compressor.exporters import nir_neurons
from shared.contracts.errors import InvalidNetwork
from shared.operators import spiking_layers
from shared.operators.spec import Scalar
from shared.spiking.layers import NEVER
from shared.spiking.recurrent import FIELDS

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

    def passed(self, slow: F64, fast: F64) -> F64:
        """K, for time constants of the membrane and the synapse [s]."""
        if self.rule == "euler":
            return self.dt / slow
        pairs = zip(slow.tolist(), fast.tolist(), strict=True)
        return np.array([nir_neurons.share_passed(*pair, self.dt) for pair in pairs])


class Neuron(NamedTuple):
    """The step of a node's neurons, and what the rows of its weights are multiplied by."""

    constants: F64  # (7, size), see `recurrent.FIELDS`
    filtered: bool  # whether its synapses filter
    factor: F64  # (size,)
    ours: tuple[str, dict[str, Scalar]] | None = None  # operator and attributes as exported here

    @property
    def layer(self) -> tuple[str, dict[str, Scalar]] | None:
        """Operator and attributes of a layer whose neurons are all the same; None: they differ."""
        if self.ours is not None:
            return self.ours
        spread = np.ptp(self.constants, axis=1)
        if (spread > 1e-6 * np.maximum(np.abs(self.constants).max(axis=1), 1e-12)).any():
            return None
        values = dict(zip(FIELDS, self.constants[:, 0].tolist(), strict=True))
        if self.filtered:
            return "cuba_layer", values
        return "lif_layer", {name: values[name] for name in FIELDS[:4]}


def discretized(name: str, node: Any, size: int, grid: Grid) -> Neuron:
    """The step of a node of `size` neurons.

    Raises:
        InvalidNetwork: constants that are no neuron's; names them.
    """
    if (ours := _kept(node, size, grid.dt)) is not None:
        return ours
    leak, threshold, span = np.zeros(size), np.ones(size), np.ones(size)
    reset = np.zeros(size)
    if isinstance(node, SILENT):
        leak, threshold = _each(node, "v_leak", size, 0.0), np.full(size, NEVER)
    else:
        span, reset = _levels(name, node, size)
    filters: tuple[F64, ...] = (np.zeros(size), np.zeros(size), np.ones(size))
    filtered = isinstance(node, nir.CubaLIF | nir.CubaLI)
    if filtered:
        decay, gain, filters = _filtered(name, node, size, grid)
    else:
        decay, gain = _step(name, node, size, grid)
    constants = np.stack([decay, leak, threshold, reset, *filters])
    return Neuron(constants, filtered, gain / span)


def places(name: str, sums: F64, terms: int) -> int:
    """Binary places of weights: as many as leave room for every sum of them in 32 bits, 16 at most.

    Args:
        sums: (neurons,) of the sizes of all weights that a neuron reads.
        terms: of such a sum; each may be rounded up by a half.

    Raises:
        InvalidNetwork: sums do not fit even without places.
    """
    largest, room = float(sums.max(initial=0.0)), 2**31 - terms - 1
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
    if not same:
        return None
    layer = spiking_layers.layer_of(attributes)
    values = (layer.decay, layer.leak, layer.threshold, layer.reset)
    filters = (layer.synapse or 0.0, layer.couple, layer.direct)
    constants = np.tile(np.array([[*values, *filters]], np.float64).T, size)
    filtered = layer.synapse is not None
    return Neuron(constants, filtered, np.ones(size), (operator, dict(attributes)))


def _filtered(name: str, node: Any, size: int, grid: Grid) -> tuple[F64, F64, tuple[F64, F64, F64]]:
    """What is left of a potential, what a unit that arrives adds, and the filter of the synapses.

    Currents are counted so that weights are as large as those of LIF of the same constants: smaller
    ones would lose places.
    """
    slow, fast = (_tau(name, node, field, size, grid) for field in ("tau_mem", "tau_syn"))
    stays, left, passed = grid.left(slow), grid.left(fast), grid.passed(slow, fast)
    scale = _each(node, "r", size, 1.0) * _each(node, "w_in", size, 1.0)
    couple = passed * (1 - left) / (1 - stays)
    direct = ((1 - stays) - passed) / (1 - stays)
    if grid.rule == "euler":
        direct = np.zeros(size)
    return stays, scale * (1 - stays), (left, couple, direct)


def _step(name: str, node: Any, size: int, grid: Grid) -> tuple[F64, F64]:
    """What is left of a potential after a step, and what a unit of current adds."""
    if isinstance(node, nir.Threshold):
        return np.zeros(size), np.ones(size)
    resistance = _each(node, "r", size, 1.0)
    if isinstance(node, nir.IF | nir.I):
        return np.ones(size), resistance * grid.dt
    left = grid.left(_tau(name, node, "tau", size, grid))
    return left, resistance * (1.0 - left)


def _tau(name: str, node: Any, field: str, size: int, grid: Grid) -> F64:
    tau = _each(node, field, size, 1.0)
    if not (tau > 0).all():
        raise InvalidNetwork(f"{field} of {name!r} is {tau.min()} s; it must be positive")
    if grid.rule == "euler" and tau.min() < grid.dt:
        raise InvalidNetwork(
            f"{field} of {name!r} is {tau.min()} s, shorter than a step of {grid.dt} s: by Euler's "
            "rule it would oscillate; take a shorter dt, or the exact rule"
        )
    return tau


def _levels(name: str, node: Any, size: int) -> tuple[F64, F64]:
    """From the leak potential to the threshold, and the reset in units of that."""
    if isinstance(node, nir.Threshold):
        return _above(name, _each(node, "threshold", size, 1.0)), np.zeros(size)
    leak = _each(node, "v_leak", size, 0.0)
    span = _above(name, _each(node, "v_threshold", size, 1.0) - leak)
    reset = (_each(node, "v_reset", size, 0.0) - leak) / span
    if not (reset < 1.0).all():
        raise InvalidNetwork(
            f"the reset of {name!r} is not below its threshold: at {reset.max():g} of the way from "
            "leak to threshold"
        )
    return span, reset


def _above(name: str, span: F64) -> F64:
    if not (span > 0).all():
        raise InvalidNetwork(
            f"a threshold of {name!r} is {span.min():g} above its leak potential; must be positive"
        )
    return span


def _each(node: Any, field: str, size: int, default: float) -> F64:
    """A constant of every neuron."""
    value = getattr(node, field, None)
    held = np.full(1, default) if value is None else np.asarray(value, np.float64).reshape(-1)
    return np.array(np.broadcast_to(held, size) if held.size == 1 else held, np.float64)
