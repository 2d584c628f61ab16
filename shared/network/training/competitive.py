"""Unsupervised training: neurons compete for what they are shown, and learn what they win.

Every row is shown for some steps as random spikes. At most one neuron fires in a step; it
strengthens the synapses whose inputs spiked lately, weakens the others, holds its rivals back and
tires. After a row all weights of a neuron are scaled to one sum, and potentials and traces are
forgotten. Labels come in last: each neuron is said to stand for the class it answered most.

Source: Diehl and Cook 2015, "Unsupervised learning of digit recognition using
spike-timing-dependent plasticity", with one layer in place of excitatory and inhibitory neurons.
"""

from dataclasses import dataclass
from math import exp
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from shared.network.graph import Network, Step
from shared.operators import catalog, plastic, spike_trains, validate
from shared.operators.spec import Attributes, Run
from shared.spiking import synapses
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, TensorType, dense

I64 = npt.NDArray[np.int64]


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
    a_plus: float = 0.03
    offset: float = 0.5
    tau_plus: float = 10.0
    theta_plus: float = 0.1
    tau_theta: float = 1e5
    inhibition: float = 4.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot learn.

        Raises:
            ValueError: a size, a time or a share is out of its range; names it.
        """
        for name in ("neurons", "steps", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, got {getattr(self, name)}")
        for name in ("total", "threshold", "tau_plus", "tau_theta"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is positive, got {getattr(self, name)}")
        if not 0 < self.peak <= 1:
            raise ValueError(f"peak is a share of 0..1, got {self.peak}")

    def attributes(self, *, learns: bool) -> Attributes:
        """Of the layer; one that does not learn does not tire either."""
        rule = {
            "a_plus": self.a_plus,
            "offset": self.offset,
            "decay_pre": exp(-1 / self.tau_plus),
            "theta_plus": self.theta_plus,
            "theta_decay": exp(-1 / self.tau_theta),
        }
        held = {"decay": self.decay, "threshold": self.threshold, "inhibition": self.inhibition}
        whole = {**held, "alone": True, **(rule if learns else {})}
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


def fit(x: F32, plan: Competitive, run: Run) -> Learned:
    """Show all rows, each `epochs` times, in random order.

    Args:
        x: (n, k) float32 from 0 to 1.
        run: a backend's calls; see `backward.on`.

    Raises:
        ValueError: there are no rows, or values outside.
    """
    _require(x)
    found, rng = start(x.shape[1], plan), np.random.default_rng((plan.seed, 1))
    for _ in range(plan.epochs):
        for row in rng.permutation(len(x)):
            found, _ = show(found, x[row], plan, run, learns=True, seed=int(rng.integers(2**31)))
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
    _require(x)
    shown = (show(found, row, plan, run, learns=False, seed=at) for at, row in enumerate(x))
    return np.stack([fired for _, fired in shown])


def standing(answers: F32, labels: I64, classes: int) -> I64:
    """The class that each neuron stands for: the one whose rows it answered most, (m,).

    Args:
        answers: (n, m) of `responses`.
        labels: (n,) from 0 to `classes` - 1.
    """
    means = [answers[labels == label].mean(axis=0) for label in range(classes)]
    return np.asarray(np.stack(means).argmax(axis=0), np.int64)


def network(found: Learned, stands: I64, classes: int, plan: Competitive) -> Network:
    """What was learned as a network: x (1, k) gives scores (1, classes), the mean answer of the
    neurons that stand for each class. Neurons of one row compete, so rows come one by one."""
    votes = (stands == np.arange(classes)[:, np.newaxis]).astype(np.float32)
    votes /= np.maximum(votes.sum(axis=1, keepdims=True), 1)
    weights = {"peak": dense(np.array(plan.peak, np.float32)), "votes": dense(votes)}
    weights |= {"synapses": dense(found.weight), "theta": dense(found.theta)}
    layer = {"spikes": "s0", "weight": "synapses", "theta": "theta"}
    kept = {f"{port}_next": f"layer:{port}" for port in ("weight", *plastic.KEPT)}
    shown: Attributes = {"steps": plan.steps, "mode": "randomly", "seed": plan.seed}
    fixed = plan.attributes(learns=False)
    steps = (
        Step("scale", "mul", {"a": "x", "b": "peak"}, {"y": "rates"}),
        Step("encode", "rate_encode", {"x": "rates"}, {"spikes": "s0"}, shown),
        Step("layer", "plastic_layer", layer, {"spikes": "s1", **kept}, fixed),
        Step("answers", "spike_rate", {"spikes": "s1"}, {"y": "fired"}),
        Step("vote", "gemm_f32", {"x": "fired", "weight": "votes"}, {"y": "scores"}),
    )
    kind = TensorType(Layout.DENSE, Dtype.F32, (None, found.weight.shape[1]))
    return Network({"x": kind}, ("scores",), steps, weights)


def _scaled(weight: F32, plan: Competitive) -> F32:
    return synapses.normalised(weight, plan.total * weight.shape[1])


def _require(x: F32) -> None:
    if x.ndim != 2 or not x.size:
        raise ValueError(f"rows are (n, k) with one of each at least, got {x.shape}")
    if not ((x >= 0) & (x <= 1)).all():
        raise ValueError(f"rows are shares of 0..1, got {np.nanmin(x):g} to {np.nanmax(x):g}")
