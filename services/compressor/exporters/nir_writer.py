"""A spiking network as a NIR file: layers of neurons, and before each the matrix of its synapses.

Everything between two layers was made one matrix at import and leaves as one; neurons that read
several populations add up a matrix of each. What NIR has no words for is in the metadata of
neurons, see `nir_neurons`: read here again, the file makes the same spikes bit by bit.
"""

import io
from dataclasses import dataclass, field

import nir
import numpy as np

from services.compressor.exporters import nir_neurons, nir_recurrent
from services.compressor.exporters.nir_neurons import LAYERS, Constants
from shared.contracts.errors import UnsupportedOperator
from shared.network.graph import Network, Step
from shared.operators.spec import Attributes
from shared.tensors.dtypes import F32

INPUT, OUTPUT = "input", "output"
CARRIED = ("v", "i", "past")  # ports of what came before the first step


@dataclass(frozen=True, slots=True)
class _Population:
    node: str
    size: int


@dataclass(slots=True)
class _Writer:
    """A graph in the making."""

    network: Network
    dt: float
    nodes: dict[str, nir.NIRNode] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    spikes: dict[str, tuple[_Population, ...]] = field(default_factory=dict)  # by value name
    told: dict[str, _Population] = field(default_factory=dict)  # by the value that tells of it

    def name(self, hint: str) -> str:
        """A name that no node has yet, and that HDF5 takes for one."""
        plain = hint.replace("/", "_")
        free = plain if plain.strip(".") else f"node{plain}"
        while free in self.nodes or free == OUTPUT:
            free += "_"
        return free


def encode(network: Network, *, dt: float) -> bytes:
    """The bytes of a NIR file that spikes as the network does, in steps of dt [s].

    Raises:
        UnsupportedOperator: names the step that NIR has no counterpart of, and why.
    """
    writer = _Writer(network, dt)
    for step in network.steps:
        _step(writer, step)
    told = {writer.told.get(name) for name in network.outputs}
    if len(told) != 1 or None in told:
        shown = ", ".join(network.outputs)
        raise UnsupportedOperator(f"NIR has one output, of one layer of neurons; got {shown}")
    (last,) = told
    assert last is not None
    writer.nodes[OUTPUT] = nir.Output(output_type={"output": np.array([last.size])})
    writer.edges.append((last.node, OUTPUT))
    held = io.BytesIO()
    graph = nir.NIRGraph(nodes=writer.nodes, edges=writer.edges, type_check=False)
    nir.write(held, graph)  # type: ignore[attr-defined,arg-type]  # it takes any open file
    return held.getvalue()


def _step(writer: _Writer, step: Step) -> None:
    read = step.inputs.get("spikes", "")
    if step.operator == "spike_pack" and step.inputs["x"] in writer.network.inputs:
        _input(writer, step)
    elif step.operator in LAYERS:
        _layer(writer, step)
    elif step.operator == "recurrent_layer":
        _population(writer, step)
    elif step.operator == "spike_join":
        both = (writer.spikes[step.inputs[port]] for port in ("a", "b"))
        writer.spikes[step.outputs["spikes"]] = tuple(part for parts in both for part in parts)
    elif step.operator in ("spike_unpack", "spike_rate") and len(writer.spikes[read]) == 1:
        writer.told[step.outputs["y"]] = writer.spikes[read][0]
    else:
        raise _refused(step, "no node of NIR does that")


def _refused(step: Step, reason: str) -> UnsupportedOperator:
    return UnsupportedOperator(f"{step.name!r} ({step.operator}): {reason}")


def _input(writer: _Writer, step: Step) -> None:
    size = writer.network.inputs[step.inputs["x"]].shape[-1] or 0
    if INPUT in writer.nodes:
        raise _refused(step, "a second input; NIR files have one here")
    writer.nodes[INPUT] = nir.Input(input_type={"input": np.array([size])})
    writer.spikes[step.outputs["spikes"]] = (_Population(INPUT, size),)


def _layer(writer: _Writer, step: Step) -> None:
    """The neurons of a layer, and a matrix for each population that they read."""
    _require_known(writer, step)
    try:
        found = nir_neurons.constants(step.operator, step.attributes, dt=writer.dt)
    except UnsupportedOperator as error:
        raise _refused(step, str(error)) from None
    every = slice(0, len(_weight(writer, step, "weight")))
    name = writer.name(step.name)
    writer.nodes[name] = _neurons(writer, found, step.operator, step.attributes, every.stop)
    made = _Population(name, every.stop)
    _reads(writer, step, made, every)
    writer.spikes[step.outputs["spikes"]] = (made,)
    writer.told |= dict.fromkeys(step.outputs.values(), made)


def _population(writer: _Writer, step: Step) -> None:
    """A node for each stage, what they read from elsewhere, and what from each other."""
    _require_known(writer, step)
    made: list[_Population] = []
    stages = nir_recurrent.stages(writer.network, step)
    for at, stage in enumerate(stages):
        name = writer.name(step.name if len(stages) == 1 else f"{step.name}.{at}")
        try:
            node = nir_recurrent.neurons(writer.network, step, stage, dt=writer.dt)
        except UnsupportedOperator as error:
            raise _refused(step, str(error)) from None
        writer.nodes[name] = node
        made.append(_Population(name, stage.stop - stage.start))
    links = list(nir_recurrent.links(writer.network, step))
    reading = {link.reader for link in links}
    for at, stage in enumerate(stages):
        _reads(writer, step, made[at], stage, sparingly=at in reading)
    for link in links:
        source = made[link.source]
        first = _delayed(writer, source, link.delay) if link.delay else source.node
        _synapses(writer, first, made[link.reader].node, link.weight, None)
    writer.spikes[step.outputs["spikes"]] = tuple(made)
    if len(made) == 1:
        writer.told |= dict.fromkeys(step.outputs.values(), made[0])


def _delayed(writer: _Writer, source: _Population, steps: int) -> str:
    """A node that passes on what a population fires, some steps later."""
    name = writer.name(f"{source.node}_after_{steps}")
    writer.nodes[name] = nir.Delay(np.full(source.size, steps * writer.dt))
    writer.edges.append((source.node, name))
    return name


def _require_known(writer: _Writer, step: Step) -> None:
    for port, value in step.inputs.items():
        if port in CARRIED:
            raise _refused(step, f"it begins at a given {port}, and neurons of NIR at rest")
        if port != "spikes" and value not in writer.network.weights:
            raise _refused(step, f"its {port} is computed")


def _reads(
    writer: _Writer, step: Step, made: _Population, rows: slice, *, sparingly: bool = False
) -> None:
    """What neurons read from elsewhere: a matrix of each population, and the bias with the first.

    Args:
        sparingly: leave out matrices without a weight.
    """
    weight, start = _weight(writer, step, "weight")[rows], 0
    for part in writer.spikes[step.inputs["spikes"]]:
        end = start + part.size
        biased = "bias" in step.inputs and start == 0
        bias = _weight(writer, step, "bias")[rows] if biased else None
        if weight[:, start:end].any() or bias is not None or not sparingly:
            _synapses(writer, part.node, made.node, weight[:, start:end], bias)
        start = end


def _weight(writer: _Writer, step: Step, port: str) -> F32:
    found: F32 = writer.network.weights[step.inputs[port]].values.view(np.float32)
    return found


def _neurons(
    writer: _Writer, found: Constants, operator: str, attributes: Attributes, size: int
) -> nir.NIRNode:
    kept = nir_neurons.kept(operator, attributes, dt=writer.dt)
    fields = {name: np.full(size, value) for name, value in found.fields.items()}
    made: nir.NIRNode = getattr(nir, found.kind)(**fields, metadata=kept)
    return made


def _synapses(writer: _Writer, source: str, reader: str, weight: F32, bias: F32 | None) -> None:
    name = writer.name(f"{source}_to_{reader}")
    held = np.ascontiguousarray(weight)
    writer.nodes[name] = nir.Linear(held) if bias is None else nir.Affine(held, bias)
    writer.edges += [(source, name), (name, reader)]
