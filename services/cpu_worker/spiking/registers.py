"""All steps of a layer by the inputs that spike, with what comes before and after it in one pass.

A step lists the inputs that spike, adds up their codes for 128 neurons at a time in registers, then
takes 32 membranes at a time. Inputs are spikes, or numbers that become evenly spaced ones; results
are spikes, or the share of steps in which each neuron spiked, or both.
"""

from typing import Any

import numpy as np

from services.cpu_worker.simd.arithmetic import add, mul, splat
from services.cpu_worker.simd.compiled import kernel, prange, shared
from services.cpu_worker.simd.integers import numbers
from services.cpu_worker.simd.lanes import Lanes
from services.cpu_worker.simd.memory import load, store
from services.cpu_worker.simd.spikes import above, chosen, load_codes, plus
from services.cpu_worker.spiking.encoding import WORD, encode
from services.cpu_worker.spiking.events import listed

ONE, FOUR = Lanes(WORD), Lanes(4 * WORD)


@kernel
def _summed(lanes: Any, column: int, codes: Any, active: Any, size: int, total: Any) -> None:
    """Codes of the inputs that spike, added for as many neurons as there are lanes."""
    made = load_codes(lanes, total, column)
    for at in range(size):
        made = plus(made, load_codes(lanes, codes, active[at] * total.size + column))
    store(total, column, made)


@kernel
def _added(codes: Any, active: Any, size: int, total: Any) -> None:
    """Codes of the inputs that spike, added for all neurons."""
    column = 0
    while column + 4 * WORD <= total.size:
        _summed(FOUR, column, codes, active, size, total)
        column += 4 * WORD
    while column < total.size:
        _summed(ONE, column, codes, active, size, total)
        column += WORD


@kernel
def _stepped(column: int, total: Any, state: Any, neuron: Any) -> Any:
    """One step of 32 membranes: what arrived becomes potentials, and a word of spikes."""
    unit, decay, leak, threshold, reset, subtract, filtered, synapse, couple, direct = neuron
    current, count = column + total.size, column + 2 * total.size
    driven = mul(numbers(load_codes(ONE, total, column)), splat(ONE, unit))
    if filtered:
        i = load(ONE, state, current)
        store(state, current, add(mul(splat(ONE, synapse), i), driven))
        driven = add(mul(splat(ONE, couple), i), mul(splat(ONE, direct), driven))
    fallen = mul(splat(ONE, decay), add(load(ONE, state, column), splat(ONE, -leak)))
    u = add(add(splat(ONE, leak), fallen), driven)
    after = add(u, splat(ONE, -threshold)) if subtract else splat(ONE, reset)
    store(state, column, chosen(u, threshold, after, u))
    if count < state.size:
        before = load(ONE, state, count)
        more = add(before, splat(ONE, np.float32(1.0)))
        store(state, count, chosen(u, threshold, more, before))
    return above(u, threshold)


@kernel
def _row(words: Any, sizes: Any, weights: Any, room: Any, neuron: Any, fired: Any) -> None:
    """All steps of a row, from `words` (steps, words of inputs) to `fired` (steps, words)."""
    steps, width, m = sizes
    codes, bias = weights
    active, total, state = room
    made = total.size // WORD
    last = np.uint32(0xFFFFFFFF) >> np.uint32(WORD * made - m)
    for step in range(steps):
        for j in range(total.size):
            total[j] = bias[j]
        _added(codes, active, listed(words, step * width, width, active), total)
        for word in range(made):
            spikes = _stepped(WORD * word, total, state, neuron)
            if fired.size:
                fired[step * made + word] = spikes & last if word + 1 == made else spikes


@kernel
def _begin(row: int, results: Any, state: Any, sizes: Any, leak: Any) -> None:
    """Potentials and currents of a row before its first step, and no spikes."""
    v, i, _, _ = results
    _, wide, m = sizes
    state[:wide], state[wide:] = leak, 0
    if v.size:
        state[:m] = v[row * m : row * m + m]
    if i.size:
        state[wide : wide + m] = i[row * m : row * m + m]


@kernel
def _end(row: int, results: Any, state: Any, sizes: Any) -> None:
    """What is left of a row after its last step."""
    v, i, _, rate = results
    steps, wide, m = sizes
    if v.size:
        v[row * m : row * m + m] = state[:m]
    if i.size:
        i[row * m : row * m + m] = state[wide : wide + m]
    if rate.size:
        share = np.float32(1.0) / np.float32(steps)
        rate[row * m : row * m + m] = state[2 * wide : 2 * wide + m] * share


@kernel
def layer(span: Any, sizes: Any, given: Any, weights: Any, results: Any, neuron: Any) -> None:
    """All steps of some rows.

    Args:
        span: first row, and the row after the last one.
        sizes: (steps, inputs, outputs), steps below 2**24.
        given: (words, x, phase): (n * steps * words,) uint32, or none of them and (n * k,) float32,
            to be encoded with the phases of `encoding.encode`.
        weights: (codes, bias): (k * wide,) int16 or int32 and (wide,) int32; wide is the outputs
            rounded up to words, with zeros beyond them.
        results: (v, i, fired, rate): (n * m,) float32 first potentials and then the last, and
            currents; spikes (n * steps * words,) uint32, and shares of steps (n * m,) float32,
            written. Each may be empty: then neurons begin at the leak, without currents, or
            nobody asks for it.
        neuron: (potential per unit of a code, decay, leak, threshold, reset) float32, whether
            resets subtract, whether synapses filter, and (synapse, couple, direct) float32.
    """
    steps, k, m = sizes
    words, x, phase = given
    width, wide = (k + WORD - 1) // WORD, weights[1].size
    # Potentials, currents, and spikes until now where they are counted.
    state = np.empty((3 if results[3].size else 2) * wide, np.float32)
    room = np.empty(WORD * width, np.int64), np.empty(wide, np.int32), state
    encoded = np.empty(steps * width if x.size else 0, np.uint32)
    size = steps * (wide // WORD) if results[2].size else 0
    for row in range(span[0], span[1]):
        _begin(row, results, state, (steps, wide, m), neuron[2])
        arriving = words[row * steps * width : (row + 1) * steps * width]
        if x.size:
            encode(x, (row * k, row * k + k), steps, phase, encoded, 0)
            arriving = encoded
        fired = results[2][row * size : row * size + size]
        _row(arriving, (steps, width, m), weights, room, neuron, fired)
        _end(row, results, state, (steps, wide, m))


@shared
def layer_shared(
    bounds: Any, sizes: Any, given: Any, weights: Any, results: Any, neuron: Any
) -> None:
    """`layer` with one share of rows per turn."""
    for share in prange(bounds.size - 1):
        layer((bounds[share], bounds[share + 1]), sizes, given, weights, results, neuron)
