"""The order of nodes that read each other, and what goes back in it."""

from collections.abc import Iterable, Mapping

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


def back_edges(before: Reads, first: str) -> frozenset[Edge]:
    """Edges of cycles that lead to a node from which the walk came: without them there is none.

    The walk begins at the first node and follows readers as deep as it can, in the order given.

    Source: Tarjan 1972, "Depth-first search and linear graph algorithms".

    Raises:
        InvalidNetwork: the walk does not come to a node; names it.
    """
    readers = _readers(before)
    found: set[Edge] = set()
    path, done = {first: iter(readers[first])}, set[str]()  # of the walk, in its order
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
    if apart := [name for name in before if name not in done]:
        raise InvalidNetwork(f"nothing leads from the input to {apart[0]!r}")
    return frozenset(found)


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
