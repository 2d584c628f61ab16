"""Populations that read themselves, as nodes of NIR: one for each stage, and synapses between them.

In the same step a stage reads those before it, and what it fired itself a step later, as it is with
any cycle of a file. All else takes a Delay of as many steps.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import nir
import numpy as np

from services.compressor.exporters import nir_neurons
from shared.contracts.errors import UnsupportedOperator
from shared.network.graph import Network, Step
from shared.operators import catalog, recurrent, validate
from shared.sparse import triplets
from shared.spiking.recurrent import FIELDS
from shared.tensors.dtypes import F32


@dataclass(frozen=True, slots=True, eq=False)
class Link:
    """Synapses from one stage to another."""

    source: int
    reader: int
    lag: int  # steps
    weight: F32  # (neurons that read, neurons that send)

    @property
    def delay(self) -> int:
        """Steps that a file has to say, 0 where they follow from the order of the stages."""
        plain = 0 if self.source < self.reader else 1
        return 0 if self.lag == plain and self.source <= self.reader else self.lag


def stages(network: Network, step: Step) -> list[slice]:
    """Neurons of each stage."""
    m = network.weights[step.inputs["neurons"]].shape[1]
    attributes = validate.complete(catalog.spec(step.operator), step.attributes)
    return [slice(*ends) for ends in pairwise((0, *recurrent.stages_of(attributes, m)))]


def neurons(network: Network, step: Step, stage: slice, *, dt: float) -> nir.NIRNode:
    """The node of a stage, every neuron with constants of its own.

    Raises:
        UnsupportedOperator: no node of NIR does that; says why.
    """
    columns: F32 = network.weights[step.inputs["neurons"]].values[:, stage].view(np.float32)
    found = [
        _constants(dict(zip(FIELDS, one, strict=True)), step, dt) for one in columns.T.tolist()
    ]
    kinds = sorted({one.kind for one in found})
    if len(kinds) > 1:
        raise UnsupportedOperator(f"neurons of one stage are {' and '.join(kinds)}")
    fields = {name: np.array([one.fields[name] for one in found]) for name in found[0].fields}
    made: nir.NIRNode = getattr(nir, kinds[0])(**fields)
    return made


def _constants(values: Mapping[str, float], step: Step, dt: float) -> nir_neurons.Constants:
    """Of one neuron."""
    level = {name: values[name] for name in FIELDS[:4]}
    given = {**level, "subtract": step.attributes.get("subtract", False)}
    if values["couple"] or values["synapse"]:
        filters = {name: values[name] for name in FIELDS[4:]}
        return nir_neurons.constants("cuba_layer", {**given, **filters}, dt=dt)
    if values["direct"] != 1.0:
        raise UnsupportedOperator(f"direct {values['direct']:g} without a current; NIR has 1 there")
    return nir_neurons.constants("lif_layer", given, dt=dt)


def links(network: Network, step: Step) -> Iterator[Link]:
    """All synapses between the neurons of a step."""
    held = network.weights[step.inputs["recurrent"]]
    places, parts = triplets.of(held), stages(network, step)
    lags, sources = np.divmod(places.rows, held.shape[1])
    ends = [part.stop for part in parts]
    of = [np.searchsorted(ends, at, side="right") for at in (sources, places.cols)]
    for key in sorted({*zip(of[0].tolist(), of[1].tolist(), lags.tolist(), strict=True)}):
        source, reader, lag = key
        own = (of[0] == source) & (of[1] == reader) & (lags == lag)
        first, second = parts[source], parts[reader]
        weight = np.zeros((second.stop - second.start, first.stop - first.start), np.float32)
        at = (places.cols[own] - second.start, sources[own] - first.start)
        np.add.at(weight, at, places.values[own].astype(np.float32))
        if lag or source < reader:  # without a lag nothing reaches a stage that is over
            yield Link(source, reader, lag, weight)
