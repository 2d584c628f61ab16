"""Values for cases, all from the generator that a case is given."""

import numpy as np

from shared.tensors.dtypes import F32, Array
from shared.tensors.layouts import Tensor, dense


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> Tensor:
    """Dense float32 drawn from a normal distribution of standard deviation `scale`."""
    return dense(rng.standard_normal(shape, dtype=np.float32) * np.float32(scale))


def weight(rng: np.random.Generator, rows: int, cols: int) -> Tensor:
    """A dense weight whose products with `normal` are of order one, whatever `cols`."""
    return normal(rng, rows, cols, scale=1.0 / np.sqrt(max(cols, 1)))


def spikes(rng: np.random.Generator, *shape: int, share: float = 0.3) -> Tensor:
    """Dense float32 of 0 and 1, of which about `share` are 1."""
    return dense((rng.random(shape) < share).astype(np.float32))


def zeros(*shape: int) -> Tensor:
    """Dense float32 zeros."""
    return dense(np.zeros(shape, dtype=np.float32))


def with_nan(tensor: Tensor, *index: int) -> Tensor:
    """The same dense tensor with one element replaced by NaN."""
    values: F32 = tensor.values.astype(np.float32)
    values[index] = np.nan
    return dense(values)


def f32(values: Array | list[float] | list[list[float]]) -> Tensor:
    """A dense float32 tensor of literal values."""
    return dense(np.asarray(values, dtype=np.float32))
