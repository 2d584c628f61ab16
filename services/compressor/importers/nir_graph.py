"""A chain of NIR nodes as layers of neurons, for steps of a given length.

Linear nodes join into one matrix; the neuron that follows takes it as synapses. For a current that
is constant over a step, tau dv/dt = (v_leak - v) + R I is solved exactly: the decay is
exp(-dt / tau), and R (1 - decay) goes into the weights; dv/dt = R I becomes R dt. Potentials are
counted from v_leak in units of v_threshold - v_leak, which may differ between neurons; decay and
reset may not.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import nir
import numpy as np
import numpy.typing as npt

from services.compressor.importers.coverage import Coverage, Refused
from services.compressor.importers.nir_file import Chain
from shared.contracts.errors import InvalidNetwork, UnsupportedOperator
from shared.network.graph import Network, Step
from shared.operators.spec import Scalar
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

F64 = npt.NDArray[np.float64]
NEVER = float(np.finfo(np.float32).max)  # a threshold that nothing passes
LINEAR = (nir.Affine, nir.Linear, nir.Scale, nir.Flatten)
NEURONS = (nir.LIF, nir.IF, nir.LI, nir.I, nir.Threshold)


@dataclass(slots=True)
class _Made:
    """Steps and weights so far, and the linear map that no neuron has taken yet."""

    steps: list[Step]
    weights: dict[str, Tensor] = field(default_factory=dict)
    value: str = "spikes"  # what arrives, as bits
    matrix: F64 | None = None
    bias: F64 | None = None


def translate(chain: Chain, *, dt: float, steps: int) -> tuple[Network, Coverage]:
    """Layers of neurons on spikes (n, steps, k); the answer is spikes, their rates, and the last
    potentials.

    Args:
        dt: length of a step [s].
        steps: of a call.

    Raises:
        InvalidNetwork: shapes that do not fit, constants that are no neuron's, or no neuron.
        UnsupportedOperator: names every node that has no counterpart.
    """
    coverage = _coverage(chain)
    if coverage.refused:
        raise UnsupportedOperator(coverage.sentence())
    first = Step("pack", "spike_pack", {"x": "x"}, {"spikes": "spikes"})
    made = _Made([first])
    for name, node in chain.nodes:
        if isinstance(node, LINEAR):
            _linear(made, name, node)
        else:
            _neuron(made, name, node, dt)
    if len(made.steps) == 1 or made.matrix is not None:
        raise InvalidNetwork("the file ends without a neuron: nothing would spike or integrate")
    width = made.weights[made.steps[1].inputs["weight"]].shape[1]
    made.steps[-1] = replace(made.steps[-1], outputs={"spikes": made.value, "v_next": "v"})
    made.steps += [
        Step("unpack", "spike_unpack", {"spikes": made.value}, {"y": "train"}),
        Step("count", "spike_rate", {"spikes": made.value}, {"y": "rate"}),
    ]
    kind = TensorType(Layout.DENSE, Dtype.F32, (None, steps, width))
    outputs = ("train", "rate", "v")
    return Network({"x": kind}, outputs, tuple(made.steps), made.weights), coverage


def _coverage(chain: Chain) -> Coverage:
    counts: dict[str, int] = {}
    refused = []
    for name, node in chain.nodes:
        kind = type(node).__name__
        counts[kind] = counts.get(kind, 0) + 1
        if not isinstance(node, (*LINEAR, *NEURONS)):
            refused.append(Refused(name, kind, "no operator computes it yet"))
        elif isinstance(node, nir.LI | nir.I) and name != chain.nodes[-1][0]:
            refused.append(Refused(name, kind, "its potentials would be read in every step"))
    return Coverage(dict(sorted(counts.items())), tuple(refused))


def _linear(made: _Made, name: str, node: Any) -> None:
    if isinstance(node, nir.Flatten):
        return  # neurons of a step are one axis here
    if isinstance(node, nir.Scale):
        scale = np.asarray(node.scale, np.float64).reshape(-1)
        matrix, bias = np.diag(scale), None
    else:
        matrix = np.asarray(node.weight, np.float64)
        bias = np.asarray(node.bias, np.float64) if isinstance(node, nir.Affine) else None
    if matrix.ndim != 2:
        raise InvalidNetwork(f"the weight of {name!r} has shape {matrix.shape}, not two axes")
    if made.matrix is not None:
        if matrix.shape[1] != len(made.matrix):
            raise InvalidNetwork(
                f"{name!r} takes {matrix.shape[1]} values, {len(made.matrix)} come before it"
            )
        if made.bias is not None:
            carried = matrix @ made.bias
            bias = carried if bias is None else bias + carried
        matrix = matrix @ made.matrix
    made.matrix, made.bias = matrix, None if bias is None else np.broadcast_to(bias, len(matrix))


def _neuron(made: _Made, name: str, node: Any, dt: float) -> None:
    size = _size(made, name, node)
    matrix = np.eye(size) if made.matrix is None else made.matrix
    decay, gain = _step(name, node, size, dt)
    given: dict[str, Scalar] = {"decay": decay}
    span = np.ones(size)
    if isinstance(node, nir.LI | nir.I):
        given |= {
            "threshold": NEVER,
            "leak": _same(name, "v_leak", _each(node, "v_leak", size, 0.0)),
        }
    else:
        span, given["reset"] = _levels(name, node, size)
    factor = (gain / span)[:, np.newaxis]
    ports = {"spikes": made.value, "weight": f"{name}:w"}
    made.weights[ports["weight"]] = dense((matrix * factor).astype(np.float32))
    if made.bias is not None:
        ports["bias"] = f"{name}:b"
        made.weights[ports["bias"]] = dense((made.bias * factor[:, 0]).astype(np.float32))
    made.value, made.matrix, made.bias = f"{name}:spikes", None, None
    outputs = {"spikes": made.value, "v_next": f"{name}:v"}
    made.steps.append(Step(name, "lif_layer", ports, outputs, given))


def _levels(name: str, node: Any, size: int) -> tuple[F64, float]:
    """From the leak potential to the threshold, and the reset in units of that.

    Raises:
        InvalidNetwork: a threshold at or below the leak potential, or below the reset.
    """
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


def _size(made: _Made, name: str, node: Any) -> int:
    own = np.asarray(node.threshold if isinstance(node, nir.Threshold) else node.r).size
    size = own if made.matrix is None else len(made.matrix)
    if own not in (1, size):
        raise InvalidNetwork(f"{name!r} has {own} neurons, {size} values come before it")
    return size


def _step(name: str, node: Any, size: int, dt: float) -> tuple[float, F64]:
    """What is left of a potential after a step, and what a unit of current adds."""
    if isinstance(node, nir.Threshold):
        return 0.0, np.ones(size)
    resistance = _each(node, "r", size, 1.0)
    if isinstance(node, nir.IF | nir.I):
        return 1.0, resistance * dt
    tau = _each(node, "tau", size, 1.0)
    if not (tau > 0).all():
        raise InvalidNetwork(f"a time constant of {name!r} is {tau.min()} s; it must be positive")
    decay = _same(name, "tau", np.exp(-dt / tau))
    return decay, resistance * -np.expm1(-dt / tau)


def _each(node: Any, field_: str, size: int, default: float) -> F64:
    value = getattr(node, field_, None)
    held = np.full(1, default) if value is None else np.asarray(value, np.float64).reshape(-1)
    return np.array(np.broadcast_to(held, size) if held.size == 1 else held, np.float64)


def _same(name: str, field_: str, values: F64) -> float:
    """The one value of all neurons.

    Raises:
        UnsupportedOperator: they differ.
    """
    if values.size and np.ptp(values) > 1e-6 * max(abs(values).max(), 1e-12):
        raise UnsupportedOperator(
            f"{field_} differs between the neurons of {name!r}: {values.min():g} to "
            f"{values.max():g}; a layer has one here"
        )
    return float(values[0])
