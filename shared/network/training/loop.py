"""Training, one mini-batch at a time; whoever drives it decides when to pause or to store.

The same network, plan, rows and backend give the same bits, whether or not the run was stopped and
taken up again from a stored state.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from shared.network import shapes
from shared.network.graph import Network, Step
from shared.network.training import (
    backward,
    losses,
    optimisers,
    regrow,
    restraint,
    rounding,
    scoring,
)
from shared.network.training.plan import TrainPlan
from shared.network.training.state import TrainState
from shared.operators.spec import Run
from shared.sparse import triplets
from shared.spiking.layers import Slope
from shared.tensors.dtypes import F32, Array, Dtype
from shared.tensors.layouts import SPARSE, Layout, Tensor, dense

PRODUCTS = {"gemm_f32", *restraint.LAYERS, *(f"spmm_{layout}" for layout in SPARSE)}
TRAINED_PORTS = ("weight", "recurrent", "bias")


class Diverged(ValueError):
    """The loss or a weight is not finite any more."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What is learned from.

    `x` (n, ...) of the network's one input; `y` (n,) int64 labels, or for
    the loss mse the wanted output (n, ...) float32.

    Raises:
        ValueError: not as many of one as of the other, or a number is not finite; says which.
    """

    x: Array
    y: Array

    def __post_init__(self) -> None:
        if not self.x.ndim or not self.y.ndim or len(self.x) != len(self.y):
            raise ValueError(f"x {self.x.shape} and y {self.y.shape} have not the same rows")
        for name, array in (("x", self.x), ("y", self.y)):
            if not (fine := np.isfinite(array)).all():
                place = tuple(int(at) for at in np.argwhere(~fine)[0])
                raise ValueError(f"{name} must be finite, {name}{list(place)} is {array[place]}")


def start(network: Network, plan: TrainPlan, *, fresh: bool = False) -> TrainState:
    """The state before the first step.

    Args:
        network: with one input that has an open batch; the loss reads its first output.
        fresh: first draw what is trained anew (He et al. 2015: normal, variance 2 / inputs; zero
            bias). A sparse weight keeps its pattern.

    Raises:
        ValueError: nothing to train or to round, more than one input, or a slope or a cost of
            spikes without spikes.
    """
    if len(network.inputs) != 1:
        raise ValueError(f"training takes one input, not {sorted(network.inputs)}")
    begun = _drawn(network, plan.seed) if fresh else network
    if plan.slope is not None:
        begun = _with_slope(begun, plan.slope)
    if plan.sparse is not None:
        begun = regrow.sparsified(begun, plan.sparse, seed=plan.seed)
    names = trained(begun)
    if not names:
        raise ValueError("nothing to train: no product has float32 weights of its own")
    rounding.require(begun, plan)
    restraint.require(begun, plan.activity)
    slots = {name: optimisers.empty(plan.optimiser, _array(begun, name)) for name in names}
    return TrainState(begun, slots)


def checked(state: TrainState, plan: TrainPlan, rows: int) -> TrainState:
    """The same state, if a run of this plan over so many rows can have come to it.

    Raises:
        ValueError: a step beyond the last, or slots that the plan would not have; names them.
    """
    total = plan.steps(rows)
    if state.step > total:
        raise ValueError(f"step {state.step} lies beyond the last, {total}")
    names = trained(state.network)
    if sorted(names) != sorted(state.slots):
        raise ValueError(f"slots of {sorted(state.slots)}; trained are {sorted(names)}")
    sizes = rounding.shapes(state.network, plan, state.step, total)
    for name in names:
        array = _array(state.network, name)
        wanted = dict.fromkeys(optimisers.empty(plan.optimiser, array), array.shape)
        wanted |= sizes.get(name, {})
        found = {slot: held.shape for slot, held in state.slots[name].items()}
        if found != wanted:
            raise ValueError(f"slots of {name!r} are {found}; the plan keeps {wanted}")
    return state


def require_rows(network: Network, plan: TrainPlan, rows: Rows) -> None:
    """Hold all rows against the network, before a batch late in the run would.

    Raises:
        ValueError: a label is no class of the network's scores.
    """
    if plan.loss != "cross_entropy" or not len(rows.x):
        return
    kind = shapes.infer(network, 1)[network.outputs[0]]
    labels = losses.labels_of(rows.y)
    classes = kind.shape[-1] or 0
    if not (labels.min() >= 0 and labels.max() < classes):
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise ValueError(f"label {wrong} is not one of the {classes} classes")


def finished(state: TrainState, plan: TrainPlan, rows: int) -> bool:
    """Whether every mini-batch of every epoch is done."""
    return state.step >= plan.steps(rows)


def advance(state: TrainState, plan: TrainPlan, rows: Rows, run: Run) -> TrainState:
    """The state after one more mini-batch.

    Raises:
        Diverged: the loss is not finite, or a weight after the last step; says where.
        ValueError: the rows do not fit the network.
    """
    total = plan.steps(len(rows.x))
    regrow.require_moves(plan.sparse, total)
    taken = batch(state.step, plan, len(rows.x))
    state = rounding.begin(state, plan, total)
    network = rounding.rounded(state, plan)
    with np.errstate(all="ignore"):
        scored = scoring.forward(network, rows.x[taken], rows.y[taken], plan.loss, run)
        found = restraint.added(scored, plan.activity)
        if not np.isfinite(found.loss):
            raise Diverged(
                f"the loss is {found.loss} at step {state.step}; a smaller rate than {plan.rate} "
                "may help"
            )
        seen = regrow.Seen()
        watching = regrow.due(plan.sparse, state.step, total)
        names, visit = frozenset(state.slots), seen if watching else None
        slopes = backward.gradients(found.taped, found.outer, names, run, visit)
        moved = state = rounding.observed(state, plan, found.taped)
        if not (watching and regrow.replaces_step(plan.sparse)):
            moved = _stepped(state, plan, slopes, total)
    if watching and plan.sparse is not None:
        moved = regrow.update(moved, plan.sparse, seen, seed=plan.seed, total=total)
    if state.step + 1 == total:  # before, the next loss would tell
        _require_finite(moved, plan)
    return replace(moved, step=state.step + 1, loss=found.loss)


def result(state: TrainState, plan: TrainPlan) -> Network:
    """The network that training was for: with codes where weights were rounded."""
    return rounding.finished(state, plan)


def batch(step: int, plan: TrainPlan, rows: int) -> npt.NDArray[np.int64]:
    """Row numbers of a step: every row once per epoch, in an order drawn from seed and epoch."""
    per_epoch = -(-rows // plan.batch)
    epoch, place = divmod(step, per_epoch)
    return _order(plan.seed, epoch, rows)[place * plan.batch : (place + 1) * plan.batch]


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, rows: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(rows)


def trained(network: Network) -> list[str]:
    """Names of the weights that training changes: float32 weights and biases of products."""
    names = [
        step.inputs[port]
        for step in network.steps
        if step.operator in PRODUCTS
        for port in TRAINED_PORTS
        if step.inputs.get(port) in network.weights
    ]
    return [name for name in dict.fromkeys(names) if network.weights[name].dtype is Dtype.F32]


def _stepped(
    state: TrainState, plan: TrainPlan, slopes: Mapping[str, Tensor], total: int
) -> TrainState:
    rate = plan.rate_at(state.step, total)
    weights, slots = dict(state.network.weights), dict(state.slots)
    for name, tensor in slopes.items():
        slope: F32 = tensor.values.view(np.float32)
        sizes: dict[str, F32] = {}
        if (both := rounding.passed(state, plan, name, slope)) is not None:
            slope, of_sizes = both
            sizes = rounding.stepped(state, plan, name, of_sizes, total=total)
        array, kept = optimisers.step(
            plan.optimiser,
            _array(state.network, name),
            slope,
            state.slots[name],
            rate=rate,
            count=state.step + 1,
        )
        slots[name] = {**kept, **sizes}
        held = weights[name]
        weights[name] = replace(held, parts={**held.parts, "values": array})
    return replace(state, network=replace(state.network, weights=weights), slots=slots)


def _require_finite(state: TrainState, plan: TrainPlan) -> None:
    for name, slots in state.slots.items():
        for array in (_array(state.network, name), slots.get(rounding.SIZE)):
            if array is not None and not (fine := np.isfinite(array)).all():
                raise Diverged(
                    f"{name!r} holds {array[~fine][0]} after step {state.step}; a smaller rate "
                    f"than {plan.rate} may help"
                )


def _array(network: Network, name: str) -> F32:
    array: F32 = network.weights[name].parts["values"].view(np.float32)
    return array


def _drawn(network: Network, seed: int) -> Network:
    rng = np.random.default_rng((seed, 0x4E45))
    weights = dict(network.weights)
    for step in network.steps:
        weights |= _redrawn(step, network, rng)
    return replace(network, weights=weights)


def _with_slope(network: Network, slope: Slope) -> Network:
    """The network whose spikes have another slope in training."""
    if not any(step.operator in restraint.LAYERS for step in network.steps):
        raise ValueError("a surrogate slope is for spikes, and no step of the network makes any")
    told = [
        replace(step, attributes={**step.attributes, **asdict(slope)})
        if step.operator in restraint.LAYERS
        else step
        for step in network.steps
    ]
    return replace(network, steps=tuple(told))


def _redrawn(step: Step, network: Network, rng: np.random.Generator) -> dict[str, Tensor]:
    """New weight and bias of a product; what a layout stores beside its elements stays zero."""
    name = step.inputs.get("weight", "")
    held = network.weights.get(name)
    if step.operator not in PRODUCTS or held is None or held.dtype is not Dtype.F32:
        return {}
    rows, cols = held.shape
    spread = np.float32(np.sqrt(2 / max(cols, 1)))
    values = np.zeros(held.parts["values"].shape, np.float32)
    at = slice(None) if held.layout is Layout.DENSE else triplets.of(held).at
    count = values.reshape(-1)[at].size
    values.reshape(-1)[at] = rng.standard_normal(count, dtype=np.float32) * spread
    made = {name: replace(held, parts={**held.parts, "values": values})}
    if (bias := step.inputs.get("bias", "")) in network.weights:
        made[bias] = dense(np.zeros(rows, np.float32))
    return made
