"""Graphs of NIR: those inside others taken apart, and all nodes in the order values pass."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import nir
import numpy as np

from services.compressor.importers import nir_order
from shared.contracts.errors import InvalidNetwork

MAX_NODES = 10_000
MAX_DEPTH = 16  # graphs inside graphs
SEPARATOR = "."  # between the name of a graph and that of a node in it
GRAPH, INPUT, OUTPUT, DELAY = "NIRGraph", "Input", "Output", "Delay"
KINDS = frozenset(
    name
    for name, kind in vars(nir).items()
    if isinstance(kind, type) and issubclass(kind, nir.NIRNode)
) - {"NIRNode", "Identity", GRAPH}
Described = Mapping[str, Any]  # the fields of a node
Node = TypeVar("Node")
Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Wired(Generic[Node]):
    """Nodes by name, in the order of their turns in a step: but for cycles every one after all that
    it reads."""

    nodes: Mapping[str, Node]
    before: Mapping[str, tuple[str, ...]]  # what each reads, and adds up
    output: str
    walk: tuple[str, ...]  # the input first; every other node reads one before it

    @classmethod
    def of(
        cls, nodes: Mapping[str, Node], before: Mapping[str, Iterable[str]], output: str
    ) -> "Wired[Node]":
        """Nodes in their order, of which the first is the input; raises like `arranged`."""
        slow = {name for name, node in nodes.items() if _delays(node)}
        order, walk = nir_order.arranged(before, next(iter(nodes)), slow)
        ordered = {name: nodes[name] for name in order}
        return cls(ordered, {name: tuple(before[name]) for name in order}, output, walk)


def flattened(graph: Described) -> Wired[Described]:
    """All nodes of a graph and of those in it, whose ends stay and pass on what they read.

    Raises:
        InvalidNetwork: no graph, too many nodes or too deep, edges from or to nowhere, not one
            input and one output, or a node that nothing leads to or away from.
    """
    nodes: dict[str, Described] = {}
    edges = _gather(graph, "", nodes)
    first, last = _end(graph, "", INPUT), _end(graph, "", OUTPUT)
    before: dict[str, dict[str, None]] = {name: {} for name in nodes}
    for source, reader in edges:
        if source in before[reader]:
            raise InvalidNetwork(f"an edge from {source!r} to {reader!r} is there twice")
        before[reader][source] = None
    _require_used(nodes, before, first, last)
    every = {first: nodes[first], **nodes}
    return Wired.of(every, {name: before[name] for name in every}, last)


def _delays(node: Any) -> bool:
    """Whether a node, or the fields of one, delays all that it reads."""
    kind = kind_of(node) if isinstance(node, Mapping) else type(node).__name__
    if kind != DELAY:
        return False
    held = np.asarray(node.get("delay", 0.0) if isinstance(node, Mapping) else node.delay)
    return held.dtype.kind in "biuf" and held.size > 0 and bool((held > 0).all())


def kind_of(node: Described) -> str:
    """The type of a node as it says itself, whatever that is."""
    kind = node.get("type")
    return kind[:40] if isinstance(kind, str) else f"a {type(kind).__name__}"


def _gather(
    graph: Described, prefix: str, nodes: dict[str, Described], depth: int = 0
) -> list[Edge]:
    """Fill `nodes`; the edges between them, where a graph inside is entered and left at its
    ends."""
    if depth > MAX_DEPTH:
        raise InvalidNetwork(f"{prefix[:40]!r} lies in over {MAX_DEPTH} graphs")
    own = _own(graph, prefix)
    edges: list[Edge] = []
    entered, left = ({name: prefix + name for name in own} for _ in range(2))
    for name, node in own.items():
        if kind_of(node) != GRAPH:
            _add(nodes, prefix + name, node)
            continue
        inside = prefix + name + SEPARATOR
        edges += _gather(node, inside, nodes, depth + 1)
        entered[name], left[name] = (_end(node, inside, kind) for kind in (INPUT, OUTPUT))
    for source, reader in _edges(graph, prefix):
        for end in (source, reader):
            if end not in own:
                raise InvalidNetwork(f"an edge ends at {prefix + end!r}, which is no node")
        edges.append((left[source], entered[reader]))
    return edges


def _own(graph: Described, prefix: str) -> Mapping[str, Described]:
    kind, held = kind_of(graph), graph.get("nodes")
    if kind != GRAPH:
        raise InvalidNetwork(f"a NIR file holds a graph, got {kind!r}")
    if not isinstance(held, Mapping) or not all(isinstance(n, Mapping) for n in held.values()):
        raise InvalidNetwork(f"the graph {prefix!r} has no nodes by name")
    return held


def _add(nodes: dict[str, Described], name: str, node: Described) -> None:
    if name in nodes:
        raise InvalidNetwork(f"two nodes are called {name!r} once graphs are taken apart")
    if len(nodes) >= MAX_NODES:
        raise InvalidNetwork(f"more nodes than the limit of {MAX_NODES}")
    nodes[name] = node


def _edges(graph: Described, prefix: str) -> Iterator[Edge]:
    edges = graph.get("edges", ())
    if not isinstance(edges, list | tuple) and np.ndim(edges) == 0:
        raise InvalidNetwork(f"the graph {prefix!r} has no list of edges")
    for edge in edges:
        try:
            source, reader = (end.decode() if isinstance(end, bytes) else str(end) for end in edge)
        except (TypeError, ValueError):  # not two, or no text
            raise InvalidNetwork(f"{str(edge)[:40]!r} is no edge of the graph {prefix!r}") from None
        yield source, reader


def _end(graph: Described, prefix: str, kind: str) -> str:
    """The one input or output of a graph."""
    found = [f"{prefix}{name}" for name, node in graph["nodes"].items() if kind_of(node) == kind]
    if len(found) != 1:
        where = f"the graph {prefix.rstrip(SEPARATOR)!r}" if prefix else "the file"
        raise InvalidNetwork(f"one {kind.lower()} is served, {where} has {len(found)}")
    return found[0]


def _require_used(
    nodes: Mapping[str, Described], before: Mapping[str, Iterable[str]], first: str, last: str
) -> None:
    """Every node is read, and reads; but for the ends."""
    read = {source for sources in before.values() for source in sources}
    for name, node in nodes.items():
        shown = f"{name!r} ({node.get('type')})"
        if name != first and not before[name]:
            raise InvalidNetwork(f"nothing leads from the input to {shown}")
        if name != last and name not in read:
            raise InvalidNetwork(f"nothing reads {shown}: each node leads to the output")
        if (name == first and before[name]) or (name == last and name in read):
            raise InvalidNetwork(f"{shown} is an end of the graph, and has edges on its outer side")
