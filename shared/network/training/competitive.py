"""Unsupervised training: neurons compete for what they are shown, and learn what they win.

Every row is shown for some steps as random spikes. At most one neuron fires in a step; it
strengthens the synapses whose inputs spiked lately, weakens the others, holds its rivals back and
tires. After a row all weights of a neuron are scaled to one sum, and potentials and traces are
forgotten. Labels come in last: each neuron is said to stand for the class it answered most.

Source: Diehl and Cook 2015, "Unsupervised learning of digit recognition using
spike-timing-dependent plasticity", with one layer in place of excitatory and inhibitory neurons.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from math import exp
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.operators import catalog, plastic, spike_trains, validate
from shared.operators.spec import Attributes, Run
from shared.spiking import synapses
from shared.tensors.dtypes import F32
from shared.tensors.layouts import dense

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
MOST = {"neurons": 16_384, "steps": 10_000, "epochs": 100_000}
MAX_SYNAPSES = 2**24  # 64 MiB of weights
MAX_SHOWN = 10_000_000  # rows of all epochs together
HELD = ("decay", "leak", "threshold", "reset", "fraction", "inhibition", "alone")  # learns or not
NONE = -1  # what a neuron that never answers stands for


@dataclass(frozen=True, slots=True)
class Competitive:
    """How neurons learn; times in steps, weights from 0 to 1."""

    neurons: int = 400
    steps: int = 50  # that a row is shown
    epochs: int = 4
    peak: float = 0.25  # spikes per step of an input that is 1
    total: float = 0.125  # sum of a neuron's weights, per input
    decay: float = 0.9  # share of a potential that is left after a step
    threshold: float = 1.0
    leak: float = 0.0
    reset: float = 0.0
    fraction: int = 16  # binary places of the weights
    a_plus: float = 0.03
    offset: float = 0.5
    tau_plus: float = 10.0
    theta_plus: float = 0.1
    tau_theta: float = 1e5
    inhibition: float = 4.0
    alone: bool = True  # at most one fires in a step
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot learn.

        Raises:
            ValueError: a size, a time or a share is out of its range; names it.
        """
        for name, most in MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is 1 to {most}, got {getattr(self, name)}")
        for name in ("total", "threshold", "tau_plus", "tau_theta"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is positive, got {getattr(self, name)}")
        if not 0 < self.peak <= 1:
            raise ValueError(f"peak is a share of 0..1, got {self.peak}")
        plastic.parts_of(self.attributes(learns=True))

    def attributes(self, *, learns: bool) -> Attributes:
        """Of the layer; one that does not learn does not tire either."""
        rule = {
            "a_plus": self.a_plus,
            "offset": self.offset,
            "decay_pre": exp(-1 / self.tau_plus),
            "theta_plus": self.theta_plus,
            "theta_decay": exp(-1 / self.tau_theta),
        }
        whole = {**{name: getattr(self, name) for name in HELD}, **(rule if learns else {})}
        return validate.complete(catalog.spec("plastic_layer"), whole)


class Learned(NamedTuple):
    """What the neurons know."""

    weight: F32  # (m, k)
    theta: F32  # (m,) how far thresholds have risen


def start(inputs: int, plan: Competitive) -> Learned:
    """Random weights, scaled."""
    rng = np.random.default_rng((plan.seed, 0))
    weight = rng.random((plan.neurons, inputs), dtype=np.float32)
    return Learned(_scaled(weight, plan), np.zeros(plan.neurons, np.float32))


def scaled(found: Learned, plan: Competitive) -> Learned:
    """The same, with weights of the sum that a plan wants."""
    return Learned(_scaled(found.weight, plan), found.theta)


def order(plan: Competitive, rows: int, *, begin: int = 0) -> Iterator[tuple[int, int]]:
    """Every showing of a run, from `begin` on: the row, and the seed of its spikes."""
    return islice(_order(plan, rows), begin, None)


def _order(plan: Competitive, rows: int) -> Iterator[tuple[int, int]]:
    rng = np.random.default_rng((plan.seed, 1))
    for _ in range(plan.epochs):
        for row in rng.permutation(rows):
            yield int(row), int(rng.integers(2**31))


def fit(x: F32, plan: Competitive, run: Run) -> Learned:
    """Show all rows, each `epochs` times, in random order.

    Args:
        x: (n, k) float32 from 0 to 1.
        run: a backend's calls; see `backward.on`.

    Raises:
        ValueError: see `require`.
    """
    require(x, plan)
    found = start(x.shape[1], plan)
    for row, seed in order(plan, len(x)):
        found, _ = show(found, x[row], plan, run, learns=True, seed=seed)
    return found


def show(
    found: Learned, row: F32, plan: Competitive, run: Run, *, learns: bool, seed: int
) -> tuple[Learned, F32]:
    """Show one row (k,); also the share of steps in which each neuron fired, (m,)."""
    how: Attributes = {"steps": plan.steps, "mode": "randomly", "seed": seed}
    x = dense((row * np.float32(plan.peak))[np.newaxis])
    spikes = run("rate_encode", {"x": x}, how)["spikes"]
    inputs = {"spikes": spikes, "weight": dense(found.weight), "theta": dense(found.theta)}
    made = run("plastic_layer", inputs, plan.attributes(learns=learns))
    fired: F32 = spike_trains.split(made["spikes"])[0].mean(axis=0, dtype=np.float32)
    if learns:
        weight = _scaled(made["weight_next"].values.view(np.float32), plan)
        found = Learned(weight, made["theta_next"].values.view(np.float32))
    return found, fired


def responses(found: Learned, x: F32, plan: Competitive, run: Run) -> F32:
    """Shares of steps in which each neuron fires for each row, (n, m), without learning."""
    require(x, plan)
    shown = (show(found, row, plan, run, learns=False, seed=at) for at, row in enumerate(x))
    return np.stack([fired for _, fired in shown])


def standing(answers: F32, labels: I64, classes: int) -> I64:
    """The class that each neuron stands for: the one whose rows it answered most, (m,).

    Args:
        answers: (n, m) of `responses`.
        labels: (n,) from 0 to `classes` - 1.

    Returns:
        0 to `classes` - 1, or `NONE` where a neuron answered no row at all.
    """
    totals = np.zeros((classes, answers.shape[1]))
    np.add.at(totals, labels, answers)
    return stands_for(totals, np.bincount(labels, minlength=classes))


def stands_for(totals: F64, rows: I64) -> I64:
    """The class that each neuron stands for, see `standing`.

    Args:
        totals: (classes, m) answers of every neuron, summed over the rows of each class.
        rows: (classes,) how many those are; a class without rows is no neuron's.
    """
    means = totals / np.maximum(rows, 1)[:, np.newaxis]
    return np.where(means.max(axis=0) > 0, means.argmax(axis=0), NONE).astype(np.int64)


def require(x: F32, plan: Competitive) -> None:
    """Look at rows before they are shown.

    Raises:
        ValueError: there are none, values lie outside 0 to 1, or it would be too much work.
    """
    if x.ndim != 2 or not x.size:
        raise ValueError(f"rows are (n, k) with one of each at least, got {x.shape}")
    if not ((x >= 0) & (x <= 1)).all():
        raise ValueError(f"rows are shares of 0..1, got {np.nanmin(x):g} to {np.nanmax(x):g}")
    rows, inputs = x.shape
    for count, most, what in (
        (plan.neurons * inputs, MAX_SYNAPSES, f"{plan.neurons} neurons of {inputs} inputs"),
        (plan.epochs * rows, MAX_SHOWN, f"{plan.epochs} epochs of {rows} rows"),
    ):
        if count > most:
            raise ValueError(f"{what} are {count}, over the limit of {most}; take fewer")


def _scaled(weight: F32, plan: Competitive) -> F32:
    return synapses.normalised(weight, plan.total * weight.shape[1])
