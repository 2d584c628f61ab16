"""Populations that have to run side by side, and the synapses between their neurons."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from services.compressor.importers import nir_graph, nir_order
from services.compressor.importers.nir_graph import FIRST, Population

Block = list[Population]


class _Link(NamedTuple):
    """One population reads another, places in their order; late by steps of a delay."""

    source: int
    reader: int
    late: int


def blocks(populations: Mapping[str, Population]) -> list[Block]:
    """Populations of a cycle, and those between which there are delays, together; each block after
    all that it reads."""
    every = list(populations.values())
    links = list(_links(populations))
    labels = _labels(populations, links)
    before: dict[str, dict[str, None]] = {label: {} for label in dict.fromkeys(labels)}
    for link in links:
        if labels[link.source] != labels[link.reader]:
            before[labels[link.reader]][labels[link.source]] = None
    found: dict[str, Block] = {label: [] for label in nir_order.ordered(before)}
    for label, population in zip(labels, every, strict=True):
        found[label].append(population)
    return list(found.values())


def _links(populations: Mapping[str, Population]) -> Iterator[_Link]:
    at = {name: place for place, name in enumerate(populations)}
    for name, population in populations.items():
        for source, late in population.read.terms:
            if source != FIRST:
                yield _Link(at[source], at[name], late)


def _labels(populations: Iterable[str], links: Iterable[_Link]) -> list[str]:
    """The block of every population: those that can be reached from each other, where a delay leads
    in both directions."""
    names = list(populations)
    reads: dict[str, list[str]] = {name: [] for name in names}
    for source, reader, late in links:
        reads[names[reader]].append(names[source])
        if late:
            reads[names[source]].append(names[reader])
    return [str(label) for label in nir_order.components(reads)]


def offsets(block: Block) -> list[int]:
    """First neuron of each population in its block."""
    return [0, *accumulate(population.size for population in block)][:-1]


def synapses(block: Block, sizes: Mapping[str, int]) -> Any:
    """Between the neurons of a block, (lags m, m) CSR float32 in units of the readers: row d m + j
    is what neuron j sends after d steps.

    Args:
        sizes: of every population.
    """
    m = sum(population.size for population in block)
    parts = list(_parts(block, sizes))
    if not parts:
        return sparse.csr_array((2 * m, m), dtype=np.float32)
    lags, sources, targets, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    with np.errstate(over="ignore"):  # what becomes infinite has no places, and is refused
        held = values.astype(np.float32)
    shape = ((max(int(lags.max(initial=0)), 1) + 1) * m, m)
    return sparse.csr_array((held, (lags * m + sources, targets)), shape=shape)


def _parts(block: Block, sizes: Mapping[str, int]) -> Iterator[tuple[Any, ...]]:
    """Lag, source, target and weight of all synapses, a term after the other. What is not delayed
    is read in the same step by the stages after its own, and a step later by all others."""
    begins = dict(zip((population.name for population in block), offsets(block), strict=True))
    earlier: set[str] = set()
    for reader in block:
        for term, held in reader.read.terms.items():
            source, late = term
            if source not in begins:
                continue
            lag = max(late, int(source not in earlier))
            factor = reader.neuron.factor[:, np.newaxis]
            matrix = sparse.coo_array(nir_graph.whole(sizes, term, held) * factor)
            targets, sources = (place.astype(np.int64) for place in matrix.coords)
            every = np.full(matrix.nnz, lag, np.int64)
            yield every, begins[source] + sources, begins[reader.name] + targets, matrix.data
        earlier.add(reader.name)
