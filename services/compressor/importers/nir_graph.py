"""A chain of NIR nodes as layers of neurons, for steps of a given length.

Linear nodes join into one matrix; the neurons that follow take it as synapses.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import nir
import numpy as np
import numpy.typing as npt

from services.compressor.importers.coverage import Coverage, Refused
from services.compressor.importers.nir_file import Chain
from services.compressor.importers.nir_neurons import NEURONS, SILENT, discretized
from shared.contracts.errors import InvalidNetwork, UnsupportedOperator
from shared.network.graph import Network, Step
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

F64 = npt.NDArray[np.float64]
LINEAR = (nir.Affine, nir.Linear, nir.Scale, nir.Flatten)


@dataclass(slots=True)
class _Made:
    """Steps and weights so far, and the linear map that no neuron has taken yet."""

    steps: list[Step]
    weights: dict[str, Tensor] = field(default_factory=dict)
    value: str = "spikes"  # what arrives, as bits
    matrix: F64 | None = None
    bias: F64 | None = None


def translate(chain: Chain, *, dt: float, steps: int) -> tuple[Network, Coverage]:
    """Layers of neurons on spikes (n, steps, k); the answer is rates of spikes, the spikes, and the
    last potentials. Rates come first: what is measured or trained reads the first output.

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
    named = {**made.steps[-1].outputs, "v_next": "v"}
    made.steps[-1] = replace(made.steps[-1], outputs=named)
    made.steps += [
        Step("unpack", "spike_unpack", {"spikes": made.value}, {"y": "train"}),
        Step("count", "spike_rate", {"spikes": made.value}, {"y": "rate"}),
    ]
    kind = TensorType(Layout.DENSE, Dtype.F32, (None, steps, width))
    outputs = ("rate", "train", "v")
    return Network({"x": kind}, outputs, tuple(made.steps), made.weights), coverage


def _coverage(chain: Chain) -> Coverage:
    counts: dict[str, int] = {}
    refused = []
    for name, node in chain.nodes:
        kind = type(node).__name__
        counts[kind] = counts.get(kind, 0) + 1
        if not isinstance(node, (*LINEAR, *NEURONS)):
            refused.append(Refused(name, kind, "no operator computes it yet"))
        elif isinstance(node, SILENT) and name != chain.nodes[-1][0]:
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
    neuron = discretized(name, node, size, dt)
    ports = {"spikes": made.value, "weight": f"{name}:w"}
    held = matrix * neuron.factor[:, np.newaxis]
    made.weights[ports["weight"]] = dense(held.astype(np.float32))
    if made.bias is not None:
        ports["bias"] = f"{name}:b"
        made.weights[ports["bias"]] = dense((made.bias * neuron.factor).astype(np.float32))
    made.value, made.matrix, made.bias = f"{name}:spikes", None, None
    outputs = {"spikes": made.value, "v_next": f"{name}:v"}
    if neuron.operator == "cuba_layer":
        outputs["i_next"] = f"{name}:i"
    made.steps.append(Step(name, neuron.operator, ports, outputs, neuron.attributes))


def _size(made: _Made, name: str, node: Any) -> int:
    own = np.asarray(node.threshold if isinstance(node, nir.Threshold) else node.r).size
    size = own if made.matrix is None else len(made.matrix)
    if own not in (1, size):
        raise InvalidNetwork(f"{name!r} has {own} neurons, {size} values come before it")
    return size
