"""A graph of NIR nodes as populations of neurons, for steps of a given length.

Between neurons everything is linear: what arrives at a node is a sum over populations that spike,
a matrix of each and the steps that it takes, and a bias. Constants are not delayed. What is served
of it: see `nir_populations`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import nir
import numpy as np
from scipy import sparse

from services.compressor.importers import nir_delays, nir_linear
from services.compressor.importers.coverage import Coverage, Refused
from services.compressor.importers.nir_linear import F64, LINEAR, Map, Shape
from services.compressor.importers.nir_nested import Wired
from services.compressor.importers.nir_neurons import (
    NEURONS,
    SILENT,
    Grid,
    Neuron,
    discretized,
)
from shared.contracts.errors import InvalidNetwork, UnsupportedOperator
from shared.spiking.layers import NEVER
from shared.spiking.recurrent import FIELDS

FIRST = "spikes"  # what comes in, as bits
ENDS = (nir.Input, nir.Output)
Term = tuple[str, int]  # a population, and the steps that its spikes take


class Arriving(NamedTuple):
    """What a node makes: of every term that it comes from a matrix, None where it is it."""

    terms: Mapping[Term, Map | None]
    bias: F64 | None
    shape: Shape | None  # None: the file does not say


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """The neurons of a node."""

    name: str
    kind: str  # of the node
    neuron: Neuron
    shape: Shape
    read: Arriving

    @property
    def size(self) -> int:
        """Neurons."""
        return len(self.neuron.factor)

    @property
    def integrates(self) -> bool:
        """Whether no neuron can spike: there are potentials alone to read."""
        threshold = self.neuron.constants[FIELDS.index("threshold")]
        return bool((threshold >= NEVER).all())


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """All populations in their order, and what comes to the output."""

    populations: Mapping[str, Population]
    sizes: Mapping[str, int]  # of every population, and of what comes in
    last: Arriving
    coverage: Coverage


@dataclass(slots=True)
class _Made:
    """What each node makes, as far as the walk has come."""

    grid: Grid
    arriving: dict[str, Arriving]
    sizes: dict[str, int] = field(default_factory=dict)
    populations: dict[str, Population] = field(default_factory=dict)


def gathered(graph: Wired[nir.NIRNode], grid: Grid) -> Gathered:
    """Populations of a graph, and what each reads.

    Raises:
        InvalidNetwork: shapes that do not fit, constants that are no neuron's, or a cycle without a
            neuron.
        TooLarge: matrices over the limits of `nir_linear`, or delays over `nir_delays.MAX_STEPS`.
        UnsupportedOperator: names every node that has no counterpart.
    """
    nir_delays.linear_order(graph)  # refuses what has none
    coverage = _coverage(graph)
    if coverage.refused:
        raise UnsupportedOperator(coverage.sentence())
    graph = nir_delays.relayed(graph)
    first, *others = graph.walk
    said = _said(graph.nodes[first].input_type["input"])
    made = _Made(grid, {first: Arriving({(FIRST, 0): None}, None, said)})
    partly = False
    for name in others:
        ready = [source for source in graph.before[name] if source in made.arriving]
        partly = partly or len(ready) < len(graph.before[name])
        _pass(made, graph, name, ready)
    if partly:  # sizes are known now, and so is what comes back
        for name in (*nir_delays.linear_order(graph), *made.populations):
            if name != first:
                _pass(made, graph, name, graph.before[name])
    populations = {name: made.populations[name] for name in graph.nodes if name in made.populations}
    return Gathered(populations, made.sizes, made.arriving[graph.output], coverage)


def _pass(made: _Made, graph: Wired[nir.NIRNode], name: str, sources: Iterable[str]) -> None:
    """What a node makes of what it reads."""
    node = graph.nodes[name]
    read = _sum(made, name, node, sources)
    if isinstance(node, ENDS):
        made.arriving[name] = read
    elif isinstance(node, nir.Delay):
        made.arriving[name] = _delayed(made, name, node, read)
    elif isinstance(node, LINEAR):
        made.arriving[name] = _linear(made, name, node, read)
    else:
        made.arriving[name] = _neuron(made, name, node, read)


def _coverage(graph: Wired[nir.NIRNode]) -> Coverage:
    counts: dict[str, int] = {}
    refused = []
    for name, node in graph.nodes.items():
        kind = type(node).__name__
        if isinstance(node, ENDS):
            continue
        counts[kind] = counts.get(kind, 0) + 1
        if not isinstance(node, (*LINEAR, *NEURONS, nir.Delay)):
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


def _sum(made: _Made, name: str, node: nir.NIRNode, sources: Iterable[str]) -> Arriving:
    """What comes to a node: the outputs of all that it reads, added up."""
    first, *others = (made.arriving[source] for source in sources)
    total = first
    for other in others:
        if _count(total) != _count(other):
            raise InvalidNetwork(
                f"{name!r} ({type(node).__name__}) adds up {total.shape} and {other.shape}"
            )
        terms = dict(total.terms)
        for term, matrix in other.terms.items():
            terms[term] = (
                whole(made.sizes, term, terms[term]) + whole(made.sizes, term, matrix)
                if term in terms
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


def whole(sizes: Mapping[str, int], term: Term, matrix: Map | None) -> Any:
    """The matrix of a term, written out where it is none."""
    return sparse.eye_array(sizes[term[0]], format="csr") if matrix is None else matrix


def _linear(made: _Made, name: str, node: Any, read: Arriving) -> Arriving:
    shape = read.shape or _wanted(name, node)
    _widths(made, name, read, shape)
    matrix, bias, after = nir_linear.linear(name, node, shape)
    if matrix is None:
        return Arriving(read.terms, read.bias, after)
    carried = None if read.bias is None else np.asarray(matrix @ read.bias)
    for population, _ in read.terms:
        nir_linear.require_size(name, node, matrix.shape[0], made.sizes[population])
    terms = {term: _through(matrix, term, held) for term, held in read.terms.items()}
    return Arriving(terms, _plus(bias, carried), after)


def _through(matrix: Map, term: Term, held: Map | None) -> Any:
    """The matrix of a term after one more; that of a delay takes few columns, and stays sparse."""
    if held is None:
        return matrix
    return (sparse.csr_array(matrix) if term[1] else matrix) @ held


def _delayed(made: _Made, name: str, node: nir.Delay, read: Arriving) -> Arriving:
    """Each value later by a time of its own, in whole steps."""
    shape = read.shape or np.shape(node.delay)
    _widths(made, name, read, shape)
    steps = nir_delays.steps_of(name, node, shape, made.grid.dt)
    terms: dict[Term, Map | None] = {}
    for term, held in read.terms.items():
        every = sparse.csr_array(whole(made.sizes, term, held))
        for late in np.unique(steps).tolist():
            own = sparse.diags_array((steps == late).astype(np.float64), format="csr")
            terms[term[0], term[1] + late] = own @ every
    return Arriving(terms, read.bias, shape)


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
    if read.terms.keys() == {(FIRST, 0)} and FIRST not in made.sizes:
        made.sizes[FIRST] = int(np.prod(shape, dtype=object))


def _neuron(made: _Made, name: str, node: Any, read: Arriving) -> Arriving:
    own = np.shape(node.threshold if isinstance(node, nir.Threshold) else node.r)
    shape = read.shape or own
    size, count = int(np.prod(shape, dtype=object)), int(np.prod(own, dtype=object))
    if count not in (1, size):
        raise InvalidNetwork(f"{name!r} has {count} neurons, {size} values come before it")
    _widths(made, name, read, shape)
    nir_linear.require_size(name, node, size, sum(made.sizes[source] for source, _ in read.terms))
    neuron = discretized(name, node, size, made.grid)
    made.sizes[name] = size
    kind, shape = type(node).__name__, own if count == size else shape
    made.populations[name] = Population(name, kind, neuron, shape, read)
    return Arriving({(name, 0): None}, None, shape)
