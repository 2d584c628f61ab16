"""Layers of neurons in a row as one call, with the encoding before them and the counting after.

Every layer is one kernel that reads the words which the layer before it wrote. A first layer that
follows `rate_encode` encodes row by row; a last one that precedes `spike_rate` counts at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from services.cpu_worker import held
from services.cpu_worker.engine import Engine
from services.cpu_worker.held import Held, Packed
from services.cpu_worker.spiking import layers
from services.cpu_worker.spiking.encoding import WORD
from services.cpu_worker.spiking.running import NO_NUMBERS, NO_WORDS, Run, advance
from shared.operators import dims, spike_trains
from shared.operators.spec import Link, port_of_chain
from shared.spiking.layers import Layer
from shared.tensors.dtypes import F32, U32

LAYERS = ("lif_layer", "cuba_layer")
ENCODE, RATE = "rate_encode", "spike_rate"
SPIKES = ("spikes", "spikes")  # ports between two calls
MADE = {"spikes": "fired", "v_next": "v", "i_next": "i"}  # output port -> where a run has it


class Stage(NamedTuple):
    """One layer of a chain; ports are those of the chain."""

    layer: Layer
    inputs: int
    neurons: int
    weight: str
    bias: str
    v: str | None  # None where nobody gives potentials, or wants the last ones
    i: str | None  # of currents in the same way
    fires: bool  # whether spikes go to the next layer, or out of the chain
    counts: bool  # whether shares of steps with a spike go out of it
    results: tuple[tuple[str, str], ...]  # port, and where a run has what goes out by it


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain for inputs of one shape, ready to be called."""

    threads: int
    rows: int
    steps: int
    encodes: bool
    given: str  # port of the numbers, or of the spikes, that come in
    stages: tuple[Stage, ...]

    def __call__(self, inputs: Mapping[str, Held]) -> dict[str, Held]:
        """What is wanted, by port."""
        found: dict[str, Held] = {}
        words, x = NO_WORDS, NO_NUMBERS
        if self.encodes:
            x = layers.flat(held.array(inputs[self.given]))
        else:
            words = layers.words_of(inputs[self.given])
        for stage in self.stages:
            run = self._begun(stage, inputs, words, x)
            fraction = stage.layer.fraction
            synapses = layers.synapses_of(inputs[stage.weight], fraction)
            bias = layers.bias_of(inputs.get(stage.bias), stage.neurons, fraction)
            advance(run, synapses, bias, self.threads)
            for port, name in stage.results:
                found[port] = _held(run, name)
            words, x = run.fired, NO_NUMBERS
        return found

    def _begun(self, stage: Stage, inputs: Mapping[str, Held], words: U32, x: F32) -> Run:
        """A run of a layer before its first step."""
        size = self.rows * stage.neurons
        fired = self.rows * self.steps * -(-stage.neurons // WORD)
        return Run(
            stage.layer,
            (self.rows, self.steps, stage.inputs, stage.neurons),
            words,
            x,
            _carried(inputs, stage.v, size, stage.layer.leak),
            _carried(inputs, stage.i, size, 0.0),
            np.empty(fired, np.uint32) if stage.fires else NO_WORDS,
            np.empty(size, np.float32) if stage.counts else NO_NUMBERS,
        )


def _carried(inputs: Mapping[str, Held], port: str | None, size: int, otherwise: float) -> F32:
    """Potentials or currents before the first step, where anybody asks for them."""
    return NO_NUMBERS if port is None else layers.first(inputs.get(port), size, otherwise)


def _held(run: Run, name: str) -> Held:
    """One of the arrays that a run has written."""
    n, steps, _, m = run.shape
    if name != "fired":
        return held.plain(getattr(run, name).reshape(n, m))
    spikes = layers.bits(run.fired, (n, steps, m))
    return Packed(spikes, spikes.type, None)


def prepared(engine: Engine, links: tuple[Link, ...]) -> Chain | None:
    """Calls as a chain; None where they are something else, or there is nothing to do."""
    encodes, counts = links[0].spec.name == ENCODE, links[-1].spec.name == RATE
    inner = range(int(encodes), len(links) - int(counts))
    if not inner or not all(map(_fits, links)):
        return None
    if any(links[at].spec.name not in LAYERS for at in inner):
        return None
    n, steps, _ = spike_trains.shape_of(links[inner[0]].types, "spikes")
    stages = tuple(_stage(links, at, counts=counts and at == inner[-1]) for at in inner)
    if not n or not all(stage.inputs and stage.neurons for stage in stages):
        return None
    given = port_of_chain(0, "x" if encodes else "spikes")
    return Chain(engine.threads, n, steps, encodes, given, stages)


def _fits(link: Link) -> bool:
    """Whether a call is joined to the one before by its spikes; randomness is not encoded here."""
    evenly = link.spec.name != ENCODE or link.attributes["mode"] == "evenly"
    return evenly and link.reads in (None, SPIKES)


def _stage(links: tuple[Link, ...], at: int, *, counts: bool) -> Stage:
    """A layer of a chain."""
    link = links[at]
    m, k = dims.sizes(link.types["weight"])
    wanted = [(port_of_chain(at, port), MADE[port]) for port in link.wanted]
    if counts:
        wanted += ((port_of_chain(at + 1, port), "rate") for port in links[at + 1].wanted)
    return Stage(
        layers.layer_of(tuple(link.attributes.items())),
        k,
        m,
        port_of_chain(at, "weight"),
        port_of_chain(at, "bias"),
        _asked(link, at, "v"),
        _asked(link, at, "i"),
        fires="spikes" in link.wanted or (at + 1 < len(links) and not counts),
        counts=counts,
        results=tuple(wanted),
    )


def _asked(link: Link, at: int, port: str) -> str | None:
    """The port of the chain for what a layer carries over; None where nobody reads or gives it."""
    given = port in link.types or f"{port}_next" in link.wanted
    return port_of_chain(at, port) if given else None
