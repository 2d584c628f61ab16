"""How to train: frozen values that name every choice."""

from dataclasses import dataclass
from math import cos, isfinite, pi
from typing import Literal

from shared.quantization import scheme
from shared.spiking.layers import Slope

MAX_STEPS = 10_000_000
Loss = Literal["cross_entropy", "mse"]
Method = Literal["static", "set", "rigl", "dsr", "gradual"]
Shares = Literal["uniform", "er", "erk"]
SlopePlan = Slope


@dataclass(frozen=True, slots=True)
class Sgd:
    """Stochastic gradient descent with momentum (Polyak 1964) and weight decay (L2)."""

    momentum: float = 0.9
    decay: float = 0.0


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam (Kingma & Ba 2015) with decoupled weight decay (Loshchilov & Hutter 2019)."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    decay: float = 0.0


@dataclass(frozen=True, slots=True)
class SparsePlan:
    """Which weights exist during training. `sparsity` is the share of zeros that is aimed at.

    static: the first random mask stays. set, rigl, dsr: weights move every `every` steps until the
    share `until` of all steps. gradual: from `start` to `sparsity`, see `schedules.Cubic`.
    """

    method: Method
    sparsity: float
    shares: Shares = "erk"
    drop: float = 0.3  # share of a layer's weights that move at the first update
    every: int = 100  # steps
    until: float = 0.75  # share of all steps
    start: float = 0.3  # gradual: share of zeros at the first update
    min_rows: int = 32  # outputs; smaller layers stay dense

    def __post_init__(self) -> None:
        _share("sparsity", self.sparsity, below=True)
        _share("drop", self.drop)
        _share("until", self.until)
        _share("start", self.start, below=True)
        if self.method == "gradual" and self.start > self.sparsity:
            raise ValueError(f"start {self.start} exceeds the sparsity {self.sparsity}")
        if self.every < 1:
            raise ValueError(f"every is at least one step, got {self.every}")


@dataclass(frozen=True, slots=True)
class RoundingPlan:
    """Dense weights are rounded while they are trained, see `rounding`."""

    bits: int = 4
    group: int | None = 32  # columns per size of a step; None: whole rows
    begin: float = 0.1  # share of all steps before the first rounding
    activations: bool = False  # what products read becomes bytes, too

    def __post_init__(self) -> None:
        _share("begin", self.begin, below=True)
        scheme.of(self.bits, self.group)
        if self.activations and (self.bits, self.group) != (8, None):
            raise ValueError(
                "activations are rounded beside weights of 8 bits with a scale per row, got bits "
                f"{self.bits}, group {self.group}"
            )


@dataclass(frozen=True, slots=True)
class ActivityPlan:
    """What spikes cost in training, see `restraint`."""

    weight: float = 100.0  # of the square of what a layer's rate exceeds the target by
    target: float = 0.0  # share of a layer's neurons and steps that may spike at no cost
    outputs: bool = False  # the last neurons, whose spikes are the answer, pay too

    def __post_init__(self) -> None:
        if not (isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"weight is positive and finite, got {self.weight}")
        _share("target", self.target, below=True)


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """Everything that a training run depends on, but for the network and the rows."""

    loss: Loss = "cross_entropy"
    optimiser: Sgd | Adam = Adam()
    rate: float = 1e-3
    schedule: Literal["constant", "cosine"] = "cosine"
    epochs: int = 20
    batch: int = 128
    seed: int = 0
    sparse: SparsePlan | None = None
    rounding: RoundingPlan | None = None
    slope: SlopePlan | None = None  # of spikes; None: what their layers say
    activity: ActivityPlan | None = None  # what spikes cost; None: nothing

    def __post_init__(self) -> None:
        if not self.rate > 0:
            raise ValueError(f"rate must be positive, got {self.rate}")
        if self.epochs < 1 or self.batch < 1:
            raise ValueError(f"epochs and batch are at least 1, got {self.epochs}, {self.batch}")

    def steps(self, rows: int) -> int:
        """Mini-batches of the whole run; the last of an epoch may be small.

        Raises:
            ValueError: no rows, or more steps than a run may have.
        """
        if rows < 1:
            raise ValueError("training needs at least one row, got none")
        total = self.epochs * -(-rows // self.batch)
        if total > MAX_STEPS:
            raise ValueError(f"{total} steps, over the limit of {MAX_STEPS}")
        return total

    def rate_at(self, step: int, total: int) -> float:
        """The learning rate of a step, 0 <= step < total.

        Source: Loshchilov & Hutter 2017, "SGDR", eq. 5, without restarts.
        """
        if self.schedule == "constant":
            return self.rate
        return self.rate * 0.5 * (1 + cos(pi * step / total))


def _share(name: str, value: float, *, below: bool = False) -> None:
    if not 0.0 <= value <= 1.0 or (below and value == 1.0):
        raise ValueError(f"{name} is a share of 0..1{' below 1' if below else ''}, got {value}")
