"""A number as the answers of a population: each neuron has a favourite, and answers less far off.

    centre_i = low + (i - 1/2) (high - low) / (n - 2)        i = 0 .. n - 1
    width    = (high - low) / (n - 2) / beta
    answer_i = exp(-(x - centre_i)² / (2 width²))            of 0..1

The outermost centres lie half a distance outside of the range. Answers become spikes by a code of
`coding` or `temporal`; the estimate of what they say is the mean of the centres, weighted by
spikes.

Sources: Bohte, Kok and La Poutré 2002, "Error-backpropagation in temporally encoded networks of
spiking neurons"; the estimate: Georgopoulos, Schwartz and Kettner 1986, "Neuronal
population coding of movement direction", for a line.
"""

from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
import numpy.typing as npt

from shared.spiking import coding
from shared.tensors.dtypes import F32


@dataclass(frozen=True, slots=True)
class Fields:
    """Gaussian receptive fields over a range, in the unit of the numbers."""

    low: float
    high: float
    neurons: int  # 3 at least
    beta: float = 1.5  # distance of the centres over the width of a field

    def __post_init__(self) -> None:
        """Refuse what covers no range.

        Raises:
            ValueError: names the value and its limit.
        """
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a range must go up, got {self.low}..{self.high}")
        if self.neurons < 3:
            raise ValueError(f"a range takes 3 neurons at least, got {self.neurons}")
        if not 0.0 < self.beta < inf:
            raise ValueError(f"beta must be positive and finite, got {self.beta}")

    @property
    def distance(self) -> float:
        """From one centre to the next."""
        return (self.high - self.low) / (self.neurons - 2)

    def centres(self) -> npt.NDArray[np.float64]:
        """(neurons,) float64."""
        return self.low + (np.arange(self.neurons, dtype=np.float64) - 0.5) * self.distance


def answers(x: F32, fields: Fields) -> F32:
    """How strongly every neuron answers.

    Args:
        x: (...) float32, each in low..high.

    Returns:
        (..., neurons) float32 of 0..1.

    Raises:
        ValueError: a number is outside of the range.
    """
    if not ((x >= fields.low) & (x <= fields.high)).all():
        raise ValueError(f"numbers must be {fields.low}..{fields.high}, got {x.min()}..{x.max()}")
    away = (x[..., np.newaxis] - fields.centres()) * fields.beta / fields.distance
    return np.exp(-0.5 * np.square(away)).astype(np.float32)


def estimate(train: F32, fields: Fields) -> F32:
    """The number that a population's spikes say.

    Args:
        train: (steps, ..., neurons) float32 of 0 and 1.

    Returns:
        (...) float32; not a number where the whole population is silent.

    Raises:
        ValueError: it is another number of neurons.
    """
    if train.shape[-1] != fields.neurons:
        raise ValueError(f"fields of {fields.neurons} neurons, got a train {train.shape}")
    counts = coding.count(train).astype(np.float64)
    total = counts.sum(axis=-1)
    weighted = (counts * fields.centres()).sum(axis=-1)
    silent = total == 0
    return np.where(silent, np.nan, weighted / np.where(silent, 1.0, total)).astype(np.float32)
