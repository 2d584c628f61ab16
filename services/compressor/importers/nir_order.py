"""The order of nodes that read each other, and what goes back in it."""

from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from shared.contracts.errors import InvalidNetwork

Edge = tuple[str, str]  # from a node to one that reads it
Reads = Mapping[str, Iterable[str]]  # by node, what it reads


def ordered(before: Reads) -> list[str]:
    """Every node after all that it reads, else in the order given.

    Source: Kahn 1962, "Topological sorting of large networks".

    Raises:
        InvalidNetwork: a cycle; names a node of it.
    """
    waiting = {name: len(list(sources)) for name, sources in before.items()}
    readers = _readers(before)
    order = [name for name, count in waiting.items() if count == 0]
    for name in order:  # grows while it is walked
        for reader in readers[name]:
            waiting[reader] -= 1
            if waiting[reader] == 0:
                order.append(reader)
    if len(order) < len(waiting):
        found = _on_cycle(before, set(order))
        raise InvalidNetwork(
            f"{found!r} reads what it makes itself within a step: a cycle needs a neuron"
        )
    return order


class Arranged(NamedTuple):
    """All nodes in two orders, which are the same where there is no cycle."""

    order: tuple[str, ...]  # in which they take their turns in a step
    walk: tuple[str, ...]  # in which every node but the first reads one before it


def arranged(before: Reads, first: str, slow: Container[str]) -> Arranged:
    """The order of nodes of which some read each other.

    A cycle is opened where it is delayed anyway, behind a node of `slow`, as far as that opens it;
    else where a walk that begins at the first node, and follows readers as deep as it can, comes
    back to a node that it came from.

    Raises:
        InvalidNetwork: the walk does not come to a node; names it.
    """
    again = _back_edges(before, (first,))
    if apart := sorted(before.keys() - again.reached, key=list(before).index):
        raise InvalidNetwork(f"nothing leads from the input to {apart[0]!r}")
    walk = tuple(ordered(_without(before, again.edges)))
    if not again.edges:
        return Arranged(walk, walk)
    label = dict(zip(before, components(before), strict=True))
    late = {
        (source, name)
        for name, sources in before.items()
        for source in sources
        if source in slow and label[source] == label[name]
    }
    prompt = _without(before, late)
    return Arranged(tuple(ordered(_without(prompt, _back_edges(prompt, walk).edges))), walk)


def components(before: Reads) -> list[int]:
    """A number for every node, the same for those that can be reached from each other."""
    at = {name: place for place, name in enumerate(before)}
    pairs = [(at[source], at[name]) for name, sources in before.items() for source in sources]
    rows, cols = np.array(pairs, np.int64).reshape(-1, 2).T
    lines = sparse.coo_array((np.ones(len(rows)), (rows, cols)), shape=(len(at), len(at)))
    found: list[int] = csgraph.connected_components(lines, connection="strong")[1].tolist()
    return found


class _Walked(NamedTuple):
    edges: frozenset[Edge]  # that lead back
    reached: frozenset[str]


def _back_edges(before: Reads, roots: Iterable[str]) -> _Walked:
    """Edges to a node from which a walk came: without them there is no cycle.

    Source: Tarjan 1972, "Depth-first search and linear graph algorithms".
    """
    readers, found, done = _readers(before), set[Edge](), set[str]()
    for root in roots:
        path = {} if root in done else {root: iter(readers[root])}  # of the walk, in its order
        while path:
            name = next(reversed(path))
            reader = next(path[name], None)
            if reader is None:
                path.popitem()
                done.add(name)
            elif reader in path:
                found.add((name, reader))
            elif reader not in done:
                path[reader] = iter(readers[reader])
    return _Walked(frozenset(found), frozenset(done))


def _without(before: Reads, edges: Container[Edge]) -> dict[str, list[str]]:
    return {
        name: [source for source in sources if (source, name) not in edges]
        for name, sources in before.items()
    }


def _readers(before: Reads) -> dict[str, list[str]]:
    readers: dict[str, list[str]] = {name: [] for name in before}
    for name, sources in before.items():
        for source in sources:
            readers[source].append(name)
    return readers


def _on_cycle(before: Reads, ordered: set[str]) -> str:
    """A node of a cycle: from any that has no place, back through others, until one comes again."""
    name = next(name for name in before if name not in ordered)
    seen: set[str] = set()
    while name not in seen:
        seen.add(name)
        name = next(source for source in before[name] if source not in ordered)
    return name
