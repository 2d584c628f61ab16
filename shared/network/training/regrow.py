"""Sparse training: weights in CSR from the first step, moved while the others are trained.

Values, gradients and optimiser state are arrays of the stored weights throughout. RigL looks at a
dense gradient at its update steps only, a block of rows at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
import numpy.typing as npt

from shared.network.graph import Network, Step
from shared.network.training.plan import SparsePlan
from shared.network.training.state import TrainState
from shared.operators import fused
from shared.operators.spec import Backward
from shared.pruning import dsr, masks, rigl, schedules, shares
from shared.pruning import set as random_growth
from shared.sparse import compressed, products
from shared.sparse.compressed import Axis, Compressed
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Layout, Tensor

DENSE, SPARSE = "gemm_f32", "spmm_csr"
BLOCK = 2**17  # elements of a dense gradient held at a time: 512 KiB
I64 = npt.NDArray[np.int64]


@dataclass(slots=True, eq=False)
class Seen:
    """Collects, on the way back of an update step, what the sparse products were given."""

    calls: dict[str, list[Backward]] = field(default_factory=dict)  # by weight name

    def __call__(self, step: Step, call: Backward) -> None:
        """Note one product; see `backward.gradients`."""
        if step.operator == SPARSE:
            self.calls.setdefault(step.inputs["weight"], []).append(call)


def sparsified(network: Network, plan: SparsePlan, *, seed: int) -> Network:
    """Dense layers with enough outputs as CSR with the plan's first mask.

    The mask of `gradual` keeps the largest weights, the others draw theirs.

    Raises:
        ValueError: no layer has enough outputs.
    """
    chosen = _layers(network, plan)
    if not chosen:
        raise ValueError(f"nothing to make sparse: no dense layer has {plan.min_rows} outputs")
    rng = np.random.default_rng((seed, 0x53))
    weights = {name: network.weights[name].values.view(np.float32) for name in chosen}
    first = plan.start if plan.method == "gradual" else plan.sparsity
    kept = shares.budgets({name: w.shape for name, w in weights.items()}, first, plan.shares)
    if plan.method == "gradual":
        found = masks.magnitude_across(weights, sum(kept.values()))
        places = {name: np.flatnonzero(mask) for name, mask in found.items()}
    else:
        places = {name: _drawn(w.size, kept[name], rng) for name, w in weights.items()}
    made = {
        name: csr(w.shape, places[name], w.ravel()[places[name]]) for name, w in weights.items()
    }
    steps = tuple(_rewritten(step) if _reads(step, made) else step for step in network.steps)
    return replace(network, steps=steps, weights={**network.weights, **made})


def due(plan: SparsePlan | None, step: int, total: int) -> bool:
    """Whether weights move after this step."""
    if plan is None or plan.method == "static":
        return False
    if plan.method == "gradual":
        cubic = _cubic(plan, total)
        return cubic.due(step) and (step > 0 or cubic.end == 0)  # the first mask holds at step 0
    return 0 < step <= plan.until * total and step % plan.every == 0


def require_moves(plan: SparsePlan | None, total: int) -> None:
    """Refuse a run in which weights that should move never would.

    Raises:
        ValueError: the first move comes after the last one; names both.
    """
    moves = plan is not None and plan.method in ("set", "rigl", "dsr")
    if plan is not None and moves and min(plan.until * total, total - 1) < plan.every:
        raise ValueError(
            f"weights would never move: {plan.method} moves them every {plan.every} steps until "
            f"{plan.until:g} of {total}; choose a smaller `every`, or more epochs"
        )


def _cubic(plan: SparsePlan, total: int) -> schedules.Cubic:
    """Gradual pruning: the whole sparsity is reached at its last update, which every run has."""
    end = min(int(plan.until * total), total - 1)
    last = end // plan.every * plan.every or min(max(end, 1), total - 1)
    return schedules.Cubic(plan.start, plan.sparsity, 0, last, plan.every)


def replaces_step(plan: SparsePlan | None) -> bool:
    """RigL updates the mask in place of the weights, the others after them (their algorithms 1)."""
    return plan is not None and plan.method == "rigl"


def update(state: TrainState, plan: SparsePlan, seen: Seen, *, seed: int, total: int) -> TrainState:
    """Drop and grow; the number of stored weights over all layers stays, or follows the schedule.

    Args:
        seen: of the step that was just taken.
        seed, total: of the plan, and steps of the whole run.
    """
    held = _held(state)
    rng = np.random.default_rng((seed, state.step, 0x47))
    share = schedules.moving(state.step, first=plan.drop, end=max(int(plan.until * total), 1))
    match plan.method:
        case "gradual":
            return _pruned(state, held, _target(plan, state.step, total, held))
        case "dsr":
            return _reallocated(state, held, share, rng)
        case "set" | "rigl":
            for name, layer in held.items():
                count = min(round(share * layer.at.size), layer.size - layer.at.size)
                left = layer.kept(rigl.surviving(layer.values, count))
                if plan.method == "rigl" and name in seen.calls:
                    places = rigl.grown(_gradient(seen.calls[name]), left.at, count)
                else:
                    places = random_growth.grown(layer.size, left.at, count, rng)
                state = _stored(state, name, left.with_grown(places))
            return state
    return state


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """The stored weights of a layer by position in row order, with their optimiser state."""

    shape: tuple[int, ...]
    at: I64  # (stored,) rising
    values: F32  # (stored,)
    slots: Mapping[str, F32]  # each (stored,)

    @property
    def size(self) -> int:
        """Elements of the layer, zeros included."""
        return prod(self.shape)

    def kept(self, mask: masks.Mask) -> "Stored":
        """Only some of them."""
        slots = {name: array[mask] for name, array in self.slots.items()}
        return Stored(self.shape, self.at[mask], self.values[mask], slots)

    def with_grown(self, places: I64) -> "Stored":
        """More of them, at zero and with cleared optimiser state."""
        joined = np.concatenate([self.at, places])
        order = np.argsort(joined, kind="stable")
        zeros = np.zeros(places.size, np.float32)
        slots = {name: np.concatenate([a, zeros])[order] for name, a in self.slots.items()}
        return Stored(self.shape, joined[order], np.concatenate([self.values, zeros])[order], slots)


def csr(shape: tuple[int, ...], at: I64, values: F32) -> Tensor:
    """A CSR tensor of the stored elements.

    Args:
        shape: (rows, cols).
        at: (stored,) int64, rising: positions in row order.
        values: (stored,) float32.
    """
    rows, cols = shape
    indptr = np.searchsorted(at, np.arange(rows + 1, dtype=np.int64) * cols).astype(np.int32)
    indices = (at % max(cols, 1)).astype(np.int32)
    held = np.ascontiguousarray(values, dtype=np.float32)
    return compressed.to_tensor(Compressed(Axis.ROWS, (rows, cols), indptr, indices, held))


def positions(weight: Tensor) -> I64:
    """Where the elements of a CSR tensor lie, in row order."""
    rows, cols = products.places(compressed.from_tensor(weight))
    return rows * weight.shape[1] + cols


def _held(state: TrainState) -> dict[str, Stored]:
    return {
        name: Stored(
            weight.shape,
            positions(weight),
            weight.parts["values"].view(np.float32),
            state.slots[name],
        )
        for name in state.slots
        if (weight := state.network.weights[name]).layout is Layout.CSR
    }


def _stored(state: TrainState, name: str, layer: Stored) -> TrainState:
    weights = {**state.network.weights, name: csr(layer.shape, layer.at, layer.values)}
    slots = {**state.slots, name: layer.slots}
    return replace(state, network=replace(state.network, weights=weights), slots=slots)


def _gradient(calls: Sequence[Backward]) -> Iterator[tuple[int, F32]]:
    """The dense gradient gᵀ x of a weight, a block of rows at a time; its readers add up."""
    for blocks in zip(*(_of_reader(call) for call in calls), strict=True):
        yield blocks[0][0], np.sum([slope for _, slope in blocks], axis=0, dtype=np.float32)


def _of_reader(call: Backward) -> Iterator[tuple[int, F32]]:
    passed: F32 = fused.passed(call)
    x: F32 = call.inputs["x"].values.view(np.float32)
    if not call.attributes["batch_first"]:
        passed, x = passed.T, x.T
    cols = x.shape[1]
    step = max(BLOCK // max(cols, 1), 1)
    for first in range(0, passed.shape[1], step):
        block: F32 = passed[:, first : first + step].T @ x
        yield first * cols, block.ravel()


def _target(plan: SparsePlan, step: int, total: int, held: Mapping[str, Stored]) -> int:
    """Weights that the cubic schedule keeps after an update at `step`."""
    share = _cubic(plan, total).at(step)
    return masks.budget(sum(layer.size for layer in held.values()), share)


def _pruned(state: TrainState, held: Mapping[str, Stored], target: int) -> TrainState:
    """Keep the largest over all layers together."""
    values = {name: layer.values for name, layer in held.items()}
    count = min(target, sum(array.size for array in values.values()))
    for name, mask in masks.magnitude_across(values, count).items():
        state = _stored(state, name, held[name].kept(mask))
    return state


def _reallocated(
    state: TrainState, held: Mapping[str, Stored], share: float, rng: np.random.Generator
) -> TrainState:
    """DSR: one threshold over all layers, growth where most survived; one weight stays in each."""
    threshold = state.kept.get("threshold", dsr.START)
    stays = {name: np.abs(layer.values) >= threshold for name, layer in held.items()}
    left = {
        name: layer.kept(stays[name] if stays[name].any() else masks.magnitude(layer.values, 1))
        for name, layer in held.items()
        if layer.values.size
    }
    before = sum(held[name].at.size for name in left)
    dropped = before - sum(layer.at.size for layer in left.values())
    survivors = {name: layer.at.size for name, layer in left.items()}
    sizes = {name: layer.size for name, layer in left.items()}
    for name, count in dsr.reallocated(survivors, sizes, dropped).items():
        places = random_growth.grown(sizes[name], left[name].at, count, rng)
        state = _stored(state, name, left[name].with_grown(places))
    aim = round(share * before)
    adapted = dsr.adapted(threshold, dropped=dropped, aim=aim)
    return replace(state, kept={**state.kept, "threshold": adapted})


def _layers(network: Network, plan: SparsePlan) -> list[str]:
    """Weights of dense products with enough outputs that only products read."""
    found = [
        step.inputs["weight"]
        for step in network.steps
        if step.operator == DENSE and _dense(network, step.inputs["weight"], plan.min_rows)
    ]
    readers = [name for step in network.steps for name in step.inputs.values()]
    return [name for name in dict.fromkeys(found) if readers.count(name) == found.count(name)]


def _dense(network: Network, name: str, min_rows: int) -> bool:
    held = network.weights.get(name)
    return held is not None and held.layout is Layout.DENSE and held.shape[0] >= min_rows


def _reads(step: Step, made: Mapping[str, Tensor]) -> bool:
    return step.operator == DENSE and step.inputs["weight"] in made


def _rewritten(step: Step) -> Step:
    return replace(step, operator=SPARSE, attributes={**step.attributes, "batch_first": True})


def _drawn(size: int, kept: int, rng: np.random.Generator) -> I64:
    return np.sort(rng.choice(size, size=kept, replace=False)).astype(np.int64)
