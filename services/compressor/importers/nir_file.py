"""NIR files (Neuromorphic Intermediate Representation): bytes to a graph, nothing in it believed.

Runs inside the sandbox alone, as every reader of files from outside.
Source: Pedersen et al. 2024, "Neuromorphic intermediate representation: A unified instruction set
for interoperable brain-inspired computing"; the file is HDF5.
"""

import io
from dataclasses import dataclass

import h5py
import nir
import numpy as np

from shared.contracts.errors import InvalidNetwork

MAX_NODES = 10_000


@dataclass(frozen=True, slots=True)
class Chain:
    """Nodes one after the other, from input to output, by name."""

    nodes: tuple[tuple[str, nir.NIRNode], ...]


def decode(data: bytes) -> Chain:
    """The nodes of a file in the order in which values pass.

    Raises:
        InvalidNetwork: no NIR file, cut off, with unknown nodes, too many of them, values that are
            not finite, or not a chain: a branch, a cycle or a node that nothing reaches.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as held:  # type: ignore[attr-defined,no-untyped-call]
            described = nir.serialization.hdf2dict(held["node"])
        graph = nir.dict2NIRNode({**described, "type_check": False})
    except Exception as error:  # the parsers raise whatever their own code stumbles over
        raise InvalidNetwork(f"no NIR file: {type(error).__name__}: {error}") from None
    if not isinstance(graph, nir.NIRGraph):
        raise InvalidNetwork(f"a NIR file holds a graph, got {type(graph).__name__}")
    return _chain(graph)


def _chain(graph: nir.NIRGraph) -> Chain:
    if len(graph.nodes) > MAX_NODES:
        raise InvalidNetwork(f"{len(graph.nodes)} nodes, over the limit of {MAX_NODES}")
    for name, node in graph.nodes.items():
        _require_finite(name, node)
    starts = [name for name, node in graph.nodes.items() if isinstance(node, nir.Input)]
    if len(starts) != 1:
        raise InvalidNetwork(f"one input is served, the file has {len(starts)}")
    following: dict[str, list[str]] = {}
    for before, reached in graph.edges:
        following.setdefault(before, []).append(reached)
    order, seen = [starts[0]], {starts[0]}
    while after := following.get(order[-1], []):
        if len(after) > 1 or after[0] in seen or after[0] not in graph.nodes:
            shown = ", ".join(after[:5])
            raise InvalidNetwork(
                f"{order[-1]!r} leads to {shown}: branches and cycles are not served, only nodes "
                "one after the other"
            )
        order.append(after[0])
        seen.add(after[0])
    if left := [name for name in graph.nodes if name not in seen]:
        raise InvalidNetwork(f"nothing leads from the input to {left[0]!r}")
    if not isinstance(graph.nodes[order[-1]], nir.Output):
        raise InvalidNetwork(f"the last node is {order[-1]!r}, which is no output")
    return Chain(tuple((name, graph.nodes[name]) for name in order[1:-1]))


def _require_finite(name: str, node: nir.NIRNode) -> None:
    for field, value in vars(node).items():
        floats = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        if floats and not np.isfinite(value).all():
            raise InvalidNetwork(f"{field} of {name!r} is not finite")
