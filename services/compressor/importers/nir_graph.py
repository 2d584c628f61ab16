"""A graph of NIR nodes as layers of neurons, for steps of a given length.

Between neurons everything is linear: what arrives at a node is a sum over populations that spike,
a matrix of each, and a bias. Where neurons read several populations, their spikes are joined to
one, and so are the matrices; the sums stay whole numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import nir
import numpy as np
from scipy import sparse

from services.compressor.importers import nir_linear
from services.compressor.importers.coverage import Coverage, Refused
from services.compressor.importers.nir_linear import F64, LINEAR, Map, Shape
from services.compressor.importers.nir_nested import Wired
from services.compressor.importers.nir_neurons import (
    NEURONS,
    SILENT,
    Grid,
    Rule,
    discretized,
    places,
)
from shared.contracts.errors import InvalidNetwork, TooLarge, UnsupportedOperator
from shared.network.graph import Network, Step
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

FIRST = "spikes"  # what comes in, as bits
ENDS = (nir.Input, nir.Output)
MAX_BYTES = 512 * 2**20  # of all weights of a network


class Arriving(NamedTuple):
    """What a node makes: of every population that it comes from a matrix, None where it is it."""

    terms: Mapping[str, Map | None]
    bias: F64 | None
    shape: Shape | None  # None: the file does not say


@dataclass(slots=True)
class _Made:
    """Steps and weights so far, and what each node makes."""

    steps: list[Step]
    arriving: dict[str, Arriving]
    sizes: dict[str, int] = field(default_factory=dict)  # neurons of every population
    weights: dict[str, Tensor] = field(default_factory=dict)


def translate(
    graph: Wired[nir.NIRNode], *, dt: float, steps: int, rule: Rule = "exact"
) -> tuple[Network, Coverage]:
    """Layers of neurons on spikes (n, steps, k); the answer is rates of spikes, the spikes, and the
    last potentials. Rates come first: what is measured or trained reads the first output.

    Args:
        dt: length of a step [s].
        steps: of a call.
        rule: how equations are solved over a step; see `nir_neurons`.

    Raises:
        InvalidNetwork: shapes that do not fit, constants that are no neuron's, or no neuron.
        TooLarge: matrices over the limits of `nir_linear` or together over `MAX_BYTES`.
        UnsupportedOperator: names every node that has no counterpart.
    """
    coverage = _coverage(graph)
    if coverage.refused:
        raise UnsupportedOperator(coverage.sentence())
    (first, node), *others = graph.nodes.items()
    made = _Made(
        [Step("pack", "spike_pack", {"x": "x"}, {"spikes": FIRST})],
        {first: Arriving({FIRST: None}, None, _said(node.input_type["input"]))},
    )
    for name, node in others:
        read = _sum(made, name, node, graph.before[name])
        if isinstance(node, ENDS):
            made.arriving[name] = read
        elif isinstance(node, LINEAR):
            made.arriving[name] = _linear(made, name, node, read)
        else:
            made.arriving[name] = _neuron(made, name, node, read, Grid(dt, rule))
    return _answering(made, graph, steps), coverage


def _coverage(graph: Wired[nir.NIRNode]) -> Coverage:
    counts: dict[str, int] = {}
    refused = []
    for name, node in graph.nodes.items():
        kind = type(node).__name__
        if isinstance(node, ENDS):
            continue
        counts[kind] = counts.get(kind, 0) + 1
        if not isinstance(node, (*LINEAR, *NEURONS)):
            refused.append(Refused(name, kind, "no operator computes it yet"))
        elif isinstance(node, SILENT) and not _at_the_end(graph, name):
            refused.append(Refused(name, kind, "its potentials would be read in every step"))
    return Coverage(dict(sorted(counts.items())), tuple(refused))


def _at_the_end(graph: Wired[nir.NIRNode], name: str) -> bool:
    """Whether nothing reads a node but the output, through ends of graphs inside at most."""
    readers = [reader for reader, sources in graph.before.items() if name in sources]
    return name == graph.output or all(
        isinstance(graph.nodes[reader], ENDS) and _at_the_end(graph, reader) for reader in readers
    )


def _said(shape: Any) -> Shape | None:
    """A shape of the file, if it has one."""
    if shape is None:
        return None
    held = np.asarray(shape).reshape(-1)
    whole = held.dtype.kind in "iuf" and (held == np.rint(held)).all() and (held >= 1).all()
    if not whole or (held > np.iinfo(np.int32).max).any():
        raise InvalidNetwork(f"the input has the shape {str(shape)[:40]}")
    return tuple(int(size) for size in held)


def _sum(made: _Made, name: str, node: nir.NIRNode, sources: tuple[str, ...]) -> Arriving:
    """What comes to a node: the outputs of all that it reads, added up."""
    first, *others = (made.arriving[source] for source in sources)
    total = first
    for other in others:
        if _count(total) != _count(other):
            raise InvalidNetwork(
                f"{name!r} ({type(node).__name__}) adds up {total.shape} and {other.shape}"
            )
        terms = dict(total.terms)
        for population, matrix in other.terms.items():
            terms[population] = (
                _whole(made, population, terms[population]) + _whole(made, population, matrix)
                if population in terms
                else matrix
            )
        total = Arriving(terms, _plus(total.bias, other.bias), total.shape)
    return total


def _count(arriving: Arriving) -> int | None:
    return None if arriving.shape is None else int(np.prod(arriving.shape, dtype=object))


def _plus(a: F64 | None, b: F64 | None) -> F64 | None:
    if a is None or b is None:
        return a if b is None else b
    return a + b


def _whole(made: _Made, population: str, matrix: Map | None) -> Any:
    return sparse.eye_array(made.sizes[population], format="csr") if matrix is None else matrix


def _linear(made: _Made, name: str, node: Any, read: Arriving) -> Arriving:
    shape = read.shape or _wanted(name, node)
    _widths(made, name, read, shape)
    matrix, bias, after = nir_linear.linear(name, node, shape)
    if matrix is None:
        return Arriving(read.terms, read.bias, after)
    carried = None if read.bias is None else np.asarray(matrix @ read.bias)
    for population in read.terms:
        nir_linear.require_size(name, node, matrix.shape[0], made.sizes[population])
    terms = {
        population: matrix if held is None else matrix @ held
        for population, held in read.terms.items()
    }
    return Arriving(terms, _plus(bias, carried), after)


def _wanted(name: str, node: Any) -> Shape:
    """What a node must read by its own constants, where the file does not say it."""
    if isinstance(node, nir.Affine | nir.Linear) and np.ndim(node.weight) == 2:
        return (int(np.shape(node.weight)[1]),)
    if isinstance(node, nir.Conv1d | nir.Conv2d) and node.input_shape is not None:
        channels = int(np.shape(node.weight)[1]) * int(node.groups)
        return (channels, *(int(size) for size in np.reshape(node.input_shape, -1)))
    if isinstance(node, nir.Scale):
        return np.shape(node.scale)
    raise InvalidNetwork(f"{name!r} ({type(node).__name__}): the file says no shape of the input")


def _widths(made: _Made, name: str, read: Arriving, shape: Shape) -> None:
    """Note how many neurons come in, once a node says it."""
    if read.terms.keys() == {FIRST} and FIRST not in made.sizes:
        made.sizes[FIRST] = int(np.prod(shape, dtype=object))


def _neuron(made: _Made, name: str, node: Any, read: Arriving, grid: Grid) -> Arriving:
    own = np.shape(node.threshold if isinstance(node, nir.Threshold) else node.r)
    shape = read.shape or own
    size, count = int(np.prod(shape, dtype=object)), int(np.prod(own, dtype=object))
    if count not in (1, size):
        raise InvalidNetwork(f"{name!r} has {count} neurons, {size} values come before it")
    _widths(made, name, read, shape)
    nir_linear.require_size(name, node, size, sum(made.sizes[one] for one in read.terms))
    neuron = discretized(name, node, size, grid)
    value = _joined(made, tuple(read.terms))
    ports = {"spikes": value, "weight": f"{name}:w"}
    with np.errstate(over="ignore"):  # what becomes infinite has no places, and is refused
        weight = _written(made, name, node, read, neuron.factor)
        bias = None if read.bias is None else (read.bias * neuron.factor).astype(np.float32)
    attributes = {"fraction": places(name, weight, bias), **neuron.attributes}
    made.weights[ports["weight"]] = dense(weight)
    if bias is not None:
        ports["bias"] = f"{name}:b"
        made.weights[ports["bias"]] = dense(bias)
    spikes = f"{name}:spikes"
    outputs = {"spikes": spikes, "v_next": f"{name}:v"}
    if neuron.operator == "cuba_layer":
        outputs["i_next"] = f"{name}:i"
    made.steps.append(Step(name, neuron.operator, ports, outputs, attributes))
    made.sizes[spikes] = size
    return Arriving({spikes: None}, None, own if count == size else shape)


def _written(made: _Made, name: str, node: Any, read: Arriving, factor: F64) -> F32:
    """(neurons, all that they read) in the operator's units."""
    rows, cols = len(factor), sum(made.sizes[population] for population in read.terms)
    total = sum(weight.nbytes for weight in made.weights.values()) + 4 * rows * cols
    if total > MAX_BYTES:
        raise TooLarge(
            f"{name!r} ({type(node).__name__}): weights up to it take {total} bytes, over the "
            f"limit of {MAX_BYTES}"
        )
    written = np.empty((rows, cols), np.float32)
    start = 0
    for population, matrix in read.terms.items():
        end = start + made.sizes[population]
        held = _whole(made, population, matrix)
        plain = held if isinstance(held, np.ndarray) else held.toarray()
        written[:, start:end] = plain * factor[:, np.newaxis]
        start = end
    return written


def _joined(made: _Made, populations: tuple[str, ...]) -> str:
    """The spikes of all of them side by side, each pair joined once."""
    value, *others = populations
    for other in others:
        both = f"{value}+{other}"
        if both not in made.sizes:
            ports = {"a": value, "b": other}
            made.steps.append(Step(both, "spike_join", ports, {"spikes": both}))
            made.sizes[both] = made.sizes[value] + made.sizes[other]
        value = both
    return value


def _answering(made: _Made, graph: Wired[nir.NIRNode], steps: int) -> Network:
    """The network with what the neurons before the output do as its answer."""
    last = made.arriving[graph.output]
    spikes = next(iter(last.terms))
    whole = [value for value, matrix in last.terms.items() if matrix is None]
    if len(whole) < len(last.terms) or last.bias is not None or FIRST in last.terms:
        raise InvalidNetwork("the file ends without a neuron: nothing would spike or integrate")
    if len(whole) > 1:
        named = " and ".join(value.removesuffix(":spikes") for value in whole)
        raise UnsupportedOperator(
            f"{graph.output!r} (Output): it adds up the spikes of {named}; one population is served"
        )
    at = next(n for n, step in enumerate(made.steps) if step.outputs["spikes"] == spikes)
    named_v = {**made.steps[at].outputs, "v_next": "v"}
    made.steps[at] = replace(made.steps[at], outputs=named_v)
    made.steps += [
        Step("unpack", "spike_unpack", {"spikes": spikes}, {"y": "train"}),
        Step("count", "spike_rate", {"spikes": spikes}, {"y": "rate"}),
    ]
    kind = TensorType(Layout.DENSE, Dtype.F32, (None, steps, made.sizes[FIRST]))
    return Network({"x": kind}, ("rate", "train", "v"), tuple(made.steps), made.weights)
