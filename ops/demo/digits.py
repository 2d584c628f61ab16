"""The demo's real data and its network: handwritten digits, and an MLP trained on them here.

Data: the 1,797 scans of 8×8 pixels that scikit-learn ships (UCI "Optical Recognition of
Handwritten Digits"). The network is trained with numpy so that the demo needs no framework.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from sklearn.datasets import load_digits

from ops.demo import mlp
from ops.demo.mlp import Layer
from shared.tensors.dtypes import F32, Array

TRAINED_ON = 1437  # of 1,797; the rest is held out


@dataclass(frozen=True, slots=True)
class Digits:
    """Pixels in 0..1, (n, 64) float32, and labels, (n,) int64; split once, by a fixed seed."""

    x: F32
    labels: Array
    held_x: F32
    held_labels: Array


@dataclass(frozen=True, slots=True)
class Training:
    """How to train: Adam (Kingma & Ba 2015) with an L1 proximal step on the hidden weights.

    The penalty drives most weights towards zero, so that pruning finds them; it is off for the
    last epochs, which let the remaining weights recover (Beck & Teboulle 2009, soft threshold).
    """

    sizes: tuple[int, ...] = (64, 1024, 1024, 10)
    epochs: int = 20
    recovery_epochs: int = 4
    batch: int = 128
    rate: float = 1e-3
    penalty: float = 0.8  # soft threshold per step, in units of the learning rate


def load(*, seed: int = 0) -> Digits:
    """Read the scans and split them."""
    scans = load_digits()
    order = np.random.default_rng(seed).permutation(len(scans.target))
    x = (scans.data[order] / 16).astype(np.float32)
    labels = scans.target[order].astype(np.int64)
    return Digits(x[:TRAINED_ON], labels[:TRAINED_ON], x[TRAINED_ON:], labels[TRAINED_ON:])


def train(digits: Digits, plan: Training, *, seed: int = 0) -> list[Layer]:
    """Train the classifier; about five seconds on two cores."""
    rng = np.random.default_rng(seed)
    layers = [_start(rng, size, out) for size, out in pairwise(plan.sizes)]
    weights = [array for layer in layers for array in (layer.weight, layer.bias)]
    adam = _Adam(weights)
    for epoch in range(plan.epochs):
        recovering = epoch >= plan.epochs - plan.recovery_epochs
        rate = plan.rate * (0.2 if recovering else 1.0)
        threshold = 0.0 if recovering else rate * plan.penalty
        for rows in np.array_split(rng.permutation(len(digits.x)), len(digits.x) // plan.batch):
            adam.step(_gradients(layers, digits.x[rows], digits.labels[rows]), rate)
            for layer in layers[:-1]:
                _shrink(layer.weight, threshold)
    return layers


def _start(rng: np.random.Generator, inputs: int, outputs: int) -> Layer:
    """Normal weights of variance 2 / inputs (He et al. 2015), zero bias."""
    weight = rng.standard_normal((outputs, inputs)) * np.sqrt(2 / inputs)
    return Layer(weight.astype(np.float32), np.zeros(outputs, np.float32))


def _gradients(layers: list[Layer], x: F32, labels: Array) -> list[F32]:
    """Gradients of the mean cross entropy, in the order weight, bias, weight, bias ..."""
    values = mlp.forward(layers, x)
    shifted = np.exp(values[-1] - values[-1].max(axis=1, keepdims=True))
    slope = shifted / shifted.sum(axis=1, keepdims=True)
    slope[np.arange(len(labels)), labels] -= 1
    slope /= len(labels)
    gradients: list[F32] = []
    for index in reversed(range(len(layers))):
        gradients[:0] = [slope.T @ values[index], slope.sum(axis=0)]
        if index:
            slope = (slope @ layers[index].weight) * (values[index] > 0)
    return gradients


def _shrink(weight: F32, threshold: float) -> None:
    """Soft threshold in place: sign(w) max(|w| - threshold, 0)."""
    if threshold > 0:
        weight -= np.clip(weight, -threshold, threshold)


class _Adam:
    """Adam with beta 0.9 and 0.999; changes the arrays it was given."""

    def __init__(self, arrays: list[F32]) -> None:
        self._arrays = arrays
        self._mean = [np.zeros_like(array) for array in arrays]
        self._square = [np.zeros_like(array) for array in arrays]
        self._steps = 0

    def step(self, gradients: list[F32], rate: float) -> None:
        self._steps += 1
        scale = rate * np.sqrt(1 - 0.999**self._steps) / (1 - 0.9**self._steps)
        states = zip(self._arrays, gradients, self._mean, self._square, strict=True)
        for array, gradient, mean, square in states:
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient * gradient - square)
            array -= np.float32(scale) * mean / (np.sqrt(square) + 1e-8)
