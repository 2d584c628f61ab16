"""How to train: the fields that a `train` job and the stage `train` of a recipe have in common."""

from typing import Literal

from pydantic import Field

from shared.contracts.message import Value


class SparseTraining(Value):
    """Weights that stay sparse while they are trained.

    static keeps the first random mask; set, rigl and dsr move weights; gradual prunes by a cubic.
    """

    method: Literal["static", "set", "rigl", "dsr", "gradual"]
    sparsity: float = Field(gt=0.0, lt=1.0)  # share of zeros in the layers that are sparse
    shares: Literal["uniform", "er", "erk"] = "erk"  # how layers share what is left
    drop: float = Field(default=0.3, ge=0.0, le=1.0)  # share that moves at the first update
    every: int = Field(default=100, ge=1)  # steps between updates
    until: float = Field(default=0.75, ge=0.0, le=1.0)  # share of all steps
    start: float = Field(default=0.3, ge=0.0, lt=1.0)  # gradual: share of zeros at first
    min_rows: int = Field(default=32, ge=1)  # layers with fewer outputs stay dense


class Rounding(Value):
    """Weights that are rounded while they are trained, with learned sizes of steps."""

    bits: int = Field(default=4, ge=2, le=8)
    group: int | None = Field(default=None, ge=1)  # columns per size; None: whole rows
    begin: float = Field(default=0.1, ge=0.0, lt=1.0)  # share of the steps before it
    activations: bool = False  # what layers read becomes bytes, too; for 8 bits without group


class Surrogate(Value):
    """What stands for the slope of a spike, and how far back in time it goes."""

    surrogate: Literal["fast_sigmoid", "arctan", "triangle"] = "fast_sigmoid"
    steep: float = Field(default=4.0, gt=0.0)
    truncate: int = Field(default=0, ge=0)  # steps; 0: to the beginning of every call


class Activity(Value):
    """What spikes cost: `weight` times the square of what a layer's rate exceeds the target by."""

    weight: float = Field(default=100.0, gt=0.0)
    target: float = Field(default=0.0, ge=0.0, lt=1.0)  # share of neurons and steps that spike
    outputs: bool = False  # the last neurons, whose spikes are the answer, pay too


class Stdp(Value):
    """Neurons that compete and learn by STDP, without labels: times in steps, weights 0 to 1.

    None: what the network says, else as in network.training.competitive, which also has the limits.
    """

    neurons: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)  # that a row is shown
    peak: float | None = Field(default=None, gt=0.0, le=1.0)  # spikes per step of an input of 1
    total: float | None = Field(default=None, gt=0.0)  # sum of a neuron's weights, per input
    decay: float | None = None  # share of a potential that is left after a step
    threshold: float | None = Field(default=None, gt=0.0)
    a_plus: float | None = None  # weight gained at a spike of the neuron, per unit of trace
    offset: float | None = None  # trace below which a spike of the neuron weakens
    tau_plus: float | None = Field(default=None, gt=0.0)  # of traces
    theta_plus: float | None = None  # what a spike adds to the neuron's own threshold
    tau_theta: float | None = Field(default=None, gt=0.0)  # in which that falls back
    inhibition: float | None = Field(default=None, ge=0.0)  # what a spike takes from all others


class Training(Value):
    """An optimiser and its settings; the order of the rows follows from the seed."""

    loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    optimiser: Literal["adam", "sgd"] = "adam"
    rate: float = Field(default=1e-3, gt=0.0)
    momentum: float = Field(default=0.9, ge=0.0, lt=1.0)  # sgd
    decay: float = Field(default=0.0, ge=0.0)  # of weights
    schedule: Literal["constant", "cosine"] = "cosine"
    epochs: int = Field(default=20, ge=1, le=100_000)
    batch: int = Field(default=128, ge=1, le=65_536)  # rows of a step
    seed: int = Field(default=0, ge=0, lt=2**63)
    sparse: SparseTraining | None = None
    rounding: Rounding | None = None
    slope: Surrogate | None = None  # of spikes; None: what the network says
    activity: Activity | None = None  # what spikes cost, added to the loss; None: nothing
