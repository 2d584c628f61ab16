"""The launch of a population that reads itself: by one group for each row, or by all of them."""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyopencl as cl

from services.gpu_worker.launch.call import Call
from services.gpu_worker.launch.spiking_layers import WORDS, codes
from services.gpu_worker.programs import Kernel
from shared.operators import recurrent
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, TensorType, dense

WIDE_FROM = 4096  # neurons; an estimate, not measured on a card
WORD = 32  # neurons
Given = tuple[cl.Buffer | None, ...]


class Sent(NamedTuple):
    """What spikes of some neurons send."""

    step: int
    least: int  # steps after their own in which it arrives first
    first: int  # of the neurons
    to: int  # after the last one
    line: int  # where the spikes stand, of
    lines: int
    fired: cl.Buffer


@dataclass(frozen=True, slots=True)
class Run:
    """One call: its sizes, and the buffers that kernels take."""

    call: Call
    rows: int
    steps: int
    inputs: int
    neurons: int
    lags: int
    ends: tuple[int, ...]  # of stages
    population: tuple[float | cl.Buffer | None, ...]  # unit, codes, bias, constants
    synapses: Given
    ring: cl.Buffer
    fired: cl.Buffer
    potentials: Given
    past_next: cl.Buffer

    def kernel(self, entry: str) -> Kernel:
        """One of the kernels of the file."""
        indices = self.call.inputs["recurrent"].parts["indices"]
        choices = {
            "SUBTRACT": int(self.call.attributes["subtract"] is True),
            "INDEX": indices.dtype.itemsize * 8,
        }
        return self.call.gpu.programs.kernel("recurrent_layer", choices, entry)


def recurrent_layer(call: Call) -> None:
    """One large population keeps all groups of a device busy, many small ones a group each."""
    run = _run(call)
    way = _by_all if _is_wide(run) else _by_one
    way(run)


def _is_wide(run: Run) -> bool:
    units: int = run.call.gpu.device.handle.max_compute_units
    return run.neurons >= WIDE_FROM and run.rows < units


def _run(call: Call) -> Run:
    (n, steps, k), (m, _) = call.inputs["spikes"].shape, call.inputs["weight"].shape
    synapses, fraction = call.inputs["recurrent"], call.whole("fraction")
    lags, scale = synapses.shape[0] // m, 2.0**fraction
    bias = codes(call, call.buffer("bias"), (m, 1), scale) if "bias" in call.inputs else None
    weight = codes(call, call.buffer("weight"), (m, k), scale)
    wires = codes(call, synapses.buffer("values"), (synapses.type.nonzeros or 0, 1), scale)
    return Run(
        call,
        *(n, steps, k, m, lags),
        ends=recurrent.stages_of(call.attributes, m),
        population=(2.0**-fraction, weight, bias, call.buffer("neurons")),
        synapses=(*(synapses.buffer(part) for part in ("indptr", "indices")), wires),
        ring=call.temporary(TensorType(Layout.DENSE, Dtype.I32, (n, lags, m))),
        fired=call.output("spikes", WORDS),
        potentials=(call.output("v_next"), call.output("i_next")),
        past_next=call.output("past_next", WORDS),
    )


def _by_one(run: Run) -> None:
    """All steps in one launch: a group cannot wait for others."""
    call, kernel = run.call, run.kernel("recurrent_layer")
    kernel.launch(
        kernel.group,
        *(run.steps, run.inputs, run.neurons, run.lags, len(run.ends)),
        *run.population,
        *run.synapses,
        *(call.buffer("spikes", WORDS), _uploaded(call, run.ends)),
        *(call.buffer("v"), call.buffer("i"), call.buffer("past", WORDS)),
        *(run.ring, run.fired, *run.potentials, run.past_next),
        rows=run.rows,
    )


def _by_all(run: Run) -> None:
    """Two launches for each stage of a step: neurons, and what their spikes send."""
    call, m, lags = run.call, run.neurons, run.lags
    past = call.buffer("past", WORDS)
    fire, send = run.kernel("recurrent_fire"), run.kernel("recurrent_send")
    run.kernel("recurrent_begin").launch(
        m,
        *(run.steps, m, lags, run.population[-1], call.buffer("v"), call.buffer("i")),
        *(run.ring, run.fired, *run.potentials),
        rows=run.rows,
    )
    if past is not None:
        for ago in range(1, lags):
            _send(run, send, Sent(lags - ago, ago, 0, m, lags - 1 - ago, lags - 1, past))
    for step in range(run.steps):
        for first, to in pairwise((0, *run.ends)):
            fire.launch(
                to - first,
                *(run.steps, run.inputs, m, lags, step, first, to, *run.population),
                *(call.buffer("spikes", WORDS), run.ring, run.fired, *run.potentials),
                rows=run.rows,
            )
            _send(run, send, Sent(step, 0, first, to, step, run.steps, run.fired))
    keep = run.kernel("recurrent_keep")
    words = (lags - 1) * -(-m // WORD)
    keep.launch(words, run.steps, m, lags, run.fired, past, run.past_next, rows=run.rows)


def _send(run: Run, kernel: Kernel, sent: Sent) -> None:
    """A group takes a word of neurons."""
    words = -(-sent.to // WORD) - sent.first // WORD
    given = (run.neurons, run.lags, *sent[:-1], *run.synapses, sent.fired, run.ring)
    kernel.launch(words * kernel.group, *given, rows=run.rows)


def _uploaded(call: Call, ends: tuple[int, ...]) -> cl.Buffer:
    call.scratch.append(call.gpu.residency.upload(dense(np.array(ends, np.int32))))
    return call.scratch[-1].buffer()
