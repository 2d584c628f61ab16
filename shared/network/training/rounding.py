"""Training with rounded weights, so that the network gets used to the few bits it will have.

Forwards a dense weight is what its codes stand for; backwards the slope passes straight through
where the weight is in range. The size of a step is learned, one per group of columns. What products
read may be rounded, too: see `rounded_inputs`.

Source: Esser et al. 2020, "Learned Step Size Quantization", eq. 1 to 3, the first size as in
section 2.1 and slopes of sizes scaled as in section 2.2.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from shared.network import integers, rewrites
from shared.network.graph import Network, Step
from shared.network.training import optimisers, rounded_inputs
from shared.network.training.backward import Taped
from shared.network.training.plan import RoundingPlan, TrainPlan
from shared.network.training.state import TrainState
from shared.quantization import affine, scheme
from shared.quantization.affine import Grid
from shared.quantization.ranges import Affine
from shared.quantization.scheme import Scheme
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Layout, Tensor, dense

SIZE = "size"  # among the slots of a weight: (rows, groups) float32
_SMALLEST = np.finfo(np.float32).smallest_normal


def require(network: Network, plan: TrainPlan) -> None:
    """Whether there is something to round.

    Raises:
        ValueError: rounding is asked for, and no product has a dense weight.
    """
    if plan.rounding is not None and not _schemes(network, plan.rounding):
        raise ValueError("nothing to round: no product has a dense weight of its own")


def shapes(
    network: Network, plan: TrainPlan, step: int, total: int
) -> dict[str, dict[str, tuple[int, ...]]]:
    """By weight and slot, the shapes of what is kept for rounding before a step."""
    if plan.rounding is None or step <= _first_step(plan.rounding, total):
        return {}
    found = {}
    for name, chosen in _schemes(network, plan.rounding).items():
        size = _first(_array(network, name), chosen)
        slots = {SIZE: size, **_prefixed(optimisers.empty(plan.optimiser, size))}
        found[name] = {slot: array.shape for slot, array in slots.items()}
    return found


def begin(state: TrainState, plan: TrainPlan, total: int) -> TrainState:
    """The state with first sizes of steps when the time for them has come."""
    if plan.rounding is None or state.step != _first_step(plan.rounding, total):
        return state
    slots = dict(state.slots)
    for name, chosen in _schemes(state.network, plan.rounding).items():
        size = _first(_array(state.network, name), chosen)
        past = optimisers.empty(plan.optimiser, size)
        slots[name] = {**slots[name], SIZE: size, **_prefixed(past)}
    return replace(state, slots=slots)


def rounded(state: TrainState, plan: TrainPlan) -> Network:
    """The network with the values that its codes stand for; the same before rounding begins."""
    if plan.rounding is None:
        return state.network
    schemes = _schemes(state.network, plan.rounding)
    values = {
        name: dense(affine.dequantize(_codes(state, name, chosen)))
        for name, chosen in schemes.items()
        if SIZE in state.slots[name]
    }
    network = replace(state.network, weights={**state.network.weights, **values})
    return rounded_inputs.rounded(network, _codes_read(state, plan.rounding))


def observed(state: TrainState, plan: TrainPlan, taped: Taped) -> TrainState:
    """The state with the ranges of what products read, where those are rounded."""
    if plan.rounding is None or not plan.rounding.activations:
        return state
    steps = _products(state)
    return replace(state, kept=rounded_inputs.observed(state.kept, steps, taped))


def passed(state: TrainState, plan: TrainPlan, name: str, slope: F32) -> tuple[F32, F32] | None:
    """Slopes of a weight and of its sizes, from the slope of the rounded weight.

    Args:
        slope: (rows, cols) float32.

    Returns:
        (rows, cols) and (rows, groups), or None for a weight that is not rounded.
    """
    size = state.slots[name].get(SIZE)
    if plan.rounding is None or size is None:
        return None
    chosen = _schemes(state.network, plan.rounding)[name]
    weight, top = _array(state.network, name), np.float32(chosen.top)
    groups = size.shape[1]
    steps = weight / np.repeat(size, weight.shape[1] // groups, axis=1)
    inside = np.abs(steps) <= top
    by_size = np.where(inside, np.rint(steps) - steps, np.sign(steps) * top) * slope
    columns = weight.shape[1] // groups
    summed = by_size.reshape(len(weight), groups, columns).sum(axis=2)
    return slope * inside, summed / np.float32(np.sqrt(columns * chosen.top))


def stepped(
    state: TrainState, plan: TrainPlan, name: str, slope: F32, *, total: int
) -> dict[str, F32]:
    """The sizes of a weight and what the optimiser remembers of them, after one step."""
    assert plan.rounding is not None  # there is a slope of sizes
    held = state.slots[name]
    past = {key.removeprefix("size."): a for key, a in held.items() if key.startswith("size.")}
    rate = plan.rate_at(state.step, total)
    taken = state.step + 1 - _first_step(plan.rounding, total)
    size, kept = optimisers.step(plan.optimiser, held[SIZE], slope, past, rate=rate, count=taken)
    return {SIZE: np.maximum(size, _SMALLEST), **_prefixed(kept)}


def finished(state: TrainState, plan: TrainPlan) -> Network:
    """The trained network with codes in place of rounded weights: it computes the same."""
    if plan.rounding is None:
        return state.network
    schemes = _schemes(state.network, plan.rounding)
    made = {
        step: _codes(state, weight, schemes[weight])
        for step, weight in _read(state.network).items()
        if weight in schemes and SIZE in state.slots[weight]
    }
    coded = rewrites.with_weights(state.network, made)
    return integers.static(coded, _codes_read(state, plan.rounding))


def _codes_read(state: TrainState, plan: RoundingPlan) -> dict[str, Affine]:
    """By step name, the bytes of what products with rounded weights read."""
    return rounded_inputs.codes(state.kept, _products(state)) if plan.activations else {}


def _products(state: TrainState) -> dict[str, Step]:
    """Products with rounded weights."""
    steps = rewrites.products(state.network)
    return {
        name: steps[name]
        for name, weight in _read(state.network).items()
        if SIZE in state.slots[weight]
    }


def _codes(state: TrainState, name: str, chosen: Scheme) -> Tensor:
    return affine.with_grid(_array(state.network, name), Grid(state.slots[name][SIZE]), chosen)


def _first_step(plan: RoundingPlan, total: int) -> int:
    """The first step with rounded weights."""
    return int(plan.begin * total)


def _first(weight: F32, chosen: Scheme) -> F32:
    """2 mean |w| / sqrt(top) over each group."""
    grouped = np.abs(weight).reshape(len(weight), -1, chosen.columns_per_scale(weight.shape[1]))
    size = 2 * grouped.mean(axis=2) / np.float32(np.sqrt(chosen.top))
    return np.asarray(np.maximum(size, _SMALLEST), dtype=np.float32)


def _schemes(network: Network, plan: RoundingPlan) -> dict[str, Scheme]:
    """By weight name, how each dense weight of a product is rounded."""
    wanted = scheme.of(plan.bits, plan.group)
    return {
        name: wanted.fitted(network.weights[name].shape[1])
        for name in _read(network).values()
        if network.weights[name].layout is Layout.DENSE and network.weights[name].size
    }


def _read(network: Network) -> dict[str, str]:
    """By step name, the weight of each dense product."""
    return {
        name: step.inputs["weight"]
        for name, step in rewrites.products(network).items()
        if step.operator == "gemm_f32"
    }


def _prefixed(slots: Mapping[str, F32]) -> dict[str, F32]:
    return {f"size.{name}": array for name, array in slots.items()}


def _array(network: Network, name: str) -> F32:
    array: F32 = network.weights[name].values.view(np.float32)
    return array
