"""Populations as steps of a network.

Where neurons read several populations, their spikes are joined to one, and so are the matrices; the
sums stay whole numbers. Populations of a cycle, and those between which there are delays, are one
block: neurons that read each other, in stages. A stage reads what those before it fire in the same
step, and what it fires itself, and what later ones do, a step later or when it is due.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import nir
import numpy as np

from services.compressor.importers import nir_blocks, nir_graph
from services.compressor.importers.coverage import Coverage
from services.compressor.importers.nir_blocks import Block
from services.compressor.importers.nir_graph import FIRST, Gathered
from services.compressor.importers.nir_nested import Wired
from services.compressor.importers.nir_neurons import Grid, Rule, places
from shared.contracts.errors import InvalidNetwork, TooLarge, UnsupportedOperator
from shared.network.graph import Network, Step
from shared.operators.spec import Scalar
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType, dense

MAX_BYTES = 512 * 2**20  # of all weights of a network


class Place(NamedTuple):
    """Where the spikes of a population are: in which value, from which neuron on."""

    value: str
    first: int


class _Joined(NamedTuple):
    """Spikes of several values side by side."""

    value: str
    begins: Mapping[str, int]  # of each value, the first neuron


class Served(NamedTuple):
    """A network, and where in it the neurons of each node are."""

    network: Network
    coverage: Coverage
    places: Mapping[str, Place]  # by node
    sizes: Mapping[str, int]


@dataclass(slots=True)
class _Made:
    """Steps and weights so far, and where all spikes are."""

    found: Gathered
    steps: list[Step]
    places: dict[str, Place]
    widths: dict[str, int]  # neurons of every value
    weights: dict[str, Tensor] = field(default_factory=dict)


def translate(
    graph: Wired[nir.NIRNode], *, dt: float, steps: int, rule: Rule = "exact"
) -> tuple[Network, Coverage]:
    """The network of a graph and what it consists of; see `served`."""
    found = served(graph, dt=dt, steps=steps, rule=rule)
    return found.network, found.coverage


def served(graph: Wired[nir.NIRNode], *, dt: float, steps: int, rule: Rule = "exact") -> Served:
    """Neurons on spikes (n, steps, k); the answer is rates of spikes, the spikes, and the last
    potentials; of neurons without a threshold potentials alone. What is measured or trained reads
    the first output.

    Args:
        dt: length of a step [s].
        steps: of a call.
        rule: how equations are solved over a step; see `nir_neurons`.

    Raises:
        InvalidNetwork: what `nir_graph.gathered` refuses, or no neuron before the output.
        TooLarge: as there, or weights that are together over `MAX_BYTES`.
        UnsupportedOperator: as there, or several populations at the output.
    """
    found = nir_graph.gathered(graph, Grid(dt, rule))
    made = _Made(
        found,
        [Step("pack", "spike_pack", {"x": "x"}, {"spikes": FIRST})],
        {FIRST: Place(FIRST, 0)},
        {FIRST: found.sizes.get(FIRST, 0)},
    )
    last = _last(found, graph.output)
    for block in nir_blocks.blocks(found.populations):
        _block(made, block)
    network = _answering(made, last, steps)
    return Served(network, found.coverage, made.places, found.sizes)


def _block(made: _Made, block: Block) -> None:
    """The step of a block, of what it reads from outside and from itself."""
    name, within = "+".join(one.name for one in block), {one.name for one in block}
    read = _read(made, block, within)
    weight, bias = _written(made, block, read, within), _bias(block)
    ports = {"spikes": read.value, "weight": f"{name}:w"}
    made.weights[ports["weight"]] = dense(weight)
    sums = np.abs(weight).sum(axis=1, dtype=np.float64)
    if bias is not None:
        ports["bias"], made.weights[f"{name}:b"] = f"{name}:b", dense(bias)
        sums = sums + np.abs(bias)
    outputs = {"spikes": f"{name}:spikes", "v_next": f"{name}:v"}
    terms, layer = weight.shape[1], _layer(block, within)
    operator, attributes = layer or ("recurrent_layer", {})
    if layer is None:
        synapses = nir_blocks.synapses(block, made.found.sizes)
        sums, terms = sums + abs(synapses).sum(axis=0), terms + synapses.shape[0]
        attributes = _population(made, name, block, synapses, ports)
        outputs["past_next"] = f"{name}:past"
    if operator != "lif_layer":
        outputs["i_next"] = f"{name}:i"
    attributes = {"fraction": places(name, sums, terms), **attributes}
    made.steps.append(Step(name, operator, ports, outputs, attributes))
    _placed(made, block, outputs["spikes"])


def _read(made: _Made, block: Block, within: set[str]) -> _Joined:
    """The spikes of all populations outside that a block reads."""
    terms = (term for one in block for term in one.read.terms)
    sources = dict.fromkeys(source for source, _ in terms if source not in within)
    return _joined(made, dict.fromkeys(made.places[source].value for source in sources))


def _layer(block: Block, within: set[str]) -> tuple[str, dict[str, Scalar]] | None:
    """Operator and attributes of neurons that are all the same and do not read themselves."""
    (only, *others) = block
    reads_itself = any(source in within for source, _ in only.read.terms)
    return None if others or reads_itself else only.neuron.layer


def _placed(made: _Made, block: Block, value: str) -> None:
    """Note where the spikes of each population are."""
    made.widths[value] = sum(population.size for population in block)
    for population, first in zip(block, nir_blocks.offsets(block), strict=True):
        made.places[population.name] = Place(value, first)


def _population(
    made: _Made, name: str, block: Block, synapses: Any, ports: dict[str, str]
) -> dict[str, Scalar]:
    """Constants and synapses of neurons that read each other, and the attributes of the step."""
    ports |= {"recurrent": f"{name}:r", "neurons": f"{name}:n"}
    constants = np.concatenate([one.neuron.constants for one in block], axis=1)
    made.weights[ports["neurons"]] = dense(constants.astype(np.float32))
    parts = {
        "indptr": synapses.indptr.astype(np.int32),
        "indices": synapses.indices.astype(np.int32),
        "values": synapses.data.astype(np.float32),
    }
    shape = (int(synapses.shape[0]), int(synapses.shape[1]))
    made.weights[ports["recurrent"]] = Tensor(Layout.CSR, Dtype.F32, shape, parts)
    _require_room(made, block)
    resets = {bool((one.neuron.ours or ("", {}))[1].get("subtract", False)) for one in block}
    if len(resets) > 1:
        raise UnsupportedOperator(
            f"{_called(block)}: some of these neurons subtract at a spike, others reset"
        )
    return {"subtract": resets.pop(), "stages": tuple(one.size for one in block)}


def _written(made: _Made, block: Block, read: _Joined, within: set[str]) -> F32:
    """(neurons, all that they read from outside) in the operator's units."""
    rows, cols = sum(one.size for one in block), made.widths[read.value]
    _require_room(made, block, more=4 * rows * cols)
    written = np.zeros((rows, cols), np.float32)
    for population, first in zip(block, nir_blocks.offsets(block), strict=True):
        lines = slice(first, first + population.size)
        factor = population.neuron.factor[:, np.newaxis]
        for term, matrix in population.read.terms.items():
            if term[0] in within:
                continue
            place = made.places[term[0]]
            begin = place.first + read.begins[place.value]
            held = nir_graph.whole(made.found.sizes, term, matrix)
            plain = held if isinstance(held, np.ndarray) else held.toarray()
            with np.errstate(over="ignore"):  # what becomes infinite has no places, and is refused
                written[lines, begin : begin + plain.shape[1]] += plain * factor
    return written


def _bias(block: Block) -> F32 | None:
    """(neurons,) in the operator's units; None where no neuron has one."""
    if all(population.read.bias is None for population in block):
        return None
    with np.errstate(over="ignore"):
        parts = [
            np.zeros(one.size) if one.read.bias is None else one.read.bias * one.neuron.factor
            for one in block
        ]
        return np.concatenate(parts).astype(np.float32)


def _require_room(made: _Made, block: Block, more: int = 0) -> None:
    total = sum(weight.nbytes for weight in made.weights.values()) + more
    if total > MAX_BYTES:
        raise TooLarge(
            f"{_called(block)}: weights up to it take {total} bytes, over the limit of {MAX_BYTES}"
        )


def _called(block: Block) -> str:
    return " and ".join(f"{population.name!r} ({population.kind})" for population in block)


def _joined(made: _Made, values: Iterable[str]) -> _Joined:
    """The spikes of all values side by side, each pair joined once, and where each begins."""
    value, *others = list(values) or [FIRST]
    begins = {value: 0}
    for other in others:
        both, begins[other] = f"{value}+{other}", made.widths[value]
        if both not in made.widths:
            ports = {"a": value, "b": other}
            made.steps.append(Step(both, "spike_join", ports, {"spikes": both}))
            made.widths[both] = made.widths[value] + made.widths[other]
        value = both
    return _Joined(value, begins)


def _last(found: Gathered, output: str) -> str:
    """The one population at the output."""
    last = found.last
    whole = [source for (source, late), matrix in last.terms.items() if matrix is None]
    if len(whole) < len(last.terms) or last.bias is not None or FIRST in whole:
        raise InvalidNetwork("the file ends without a neuron: nothing would spike or integrate")
    if len(whole) > 1:
        raise UnsupportedOperator(
            f"{output!r} (Output): it adds up the spikes of {' and '.join(whole)}; one population "
            "is served"
        )
    return whole[0]


def _answering(made: _Made, last: str, steps: int) -> Network:
    """The network with what the neurons before the output do as its answer."""
    value, first = made.places[last]
    size = made.found.sizes[last]
    at = next(n for n, step in enumerate(made.steps) if step.outputs["spikes"] == value)
    if made.widths[value] == size:
        named_v = {**made.steps[at].outputs, "v_next": "v"}
        made.steps[at] = replace(made.steps[at], outputs=named_v)
    else:
        value = _chosen(made, value, made.steps[at].outputs["v_next"], (first, size))
    answers: tuple[str, ...] = ("v",)
    if not made.found.populations[last].integrates:
        answers = ("rate", "train", "v")
        made.steps += [
            Step("unpack", "spike_unpack", {"spikes": value}, {"y": "train"}),
            Step("count", "spike_rate", {"spikes": value}, {"y": "rate"}),
        ]
    kind = TensorType(Layout.DENSE, Dtype.F32, (None, steps, made.widths[FIRST]))
    return Network({"x": kind}, answers, tuple(made.steps), made.weights)


def _chosen(made: _Made, value: str, v: str, part: tuple[int, int]) -> str:
    """Some neurons of a block: spikes by neurons that pass them on, potentials by a product."""
    first, size = part
    choice: F32 = np.eye(size, made.widths[value], first, dtype=np.float32)
    made.weights["output:w"] = dense(choice)
    kept = {"decay": 0.0, "threshold": 0.5, "fraction": 0}
    ports, outputs = {"spikes": value, "weight": "output:w"}, {"spikes": "output:spikes"}
    made.steps += [
        Step("output", "lif_layer", ports, {**outputs, "v_next": "output:v"}, kept),
        Step("potentials", "gemm_f32", {"x": v, "weight": "output:w"}, {"y": "v"}),
    ]
    return outputs["spikes"]
