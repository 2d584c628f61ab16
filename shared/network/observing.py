"""What the products of a network read on given rows; see quantization.observers.

Several workers observe parts of the rows, and what they saw is merged.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from shared.network import rewrites
from shared.network.graph import Network
from shared.network.training import backward
from shared.operators.spec import Run
from shared.quantization import observers
from shared.quantization.observers import BINS, MAX_GRAM, Observed
from shared.tensors.dtypes import F32, Array
from shared.tensors.layouts import Tensor, dense

CHUNK = 256  # rows of a run; bounds the values that are held
_NUMBERS = ("rows", "low", "high", "moving_low", "moving_high", "reach")
_ARRAYS = ("counts", "largest", "total", "gram")


def observe(network: Network, x: Array, run: Run) -> dict[str, Observed]:
    """What every product with a weight of the network reads, by step name.

    Args:
        network: with one input, whose batch is open.
        x: (n, ...) rows of it.
        run: a backend's calls; see `backward.on`.

    Raises:
        ValueError: several inputs, or values that are not finite; names the step.
    """
    if len(network.inputs) != 1:
        raise ValueError(f"one input is observed, the network has {sorted(network.inputs)}")
    (port,) = network.inputs
    steps, seen = rewrites.products(network), dict[str, Observed]()
    for first in range(0, len(x), CHUNK):
        rows = dense(x[first : first + CHUNK])
        values = backward.forward(network, {port: rows}, run).values
        for name, step in steps.items():
            read: F32 = values[step.inputs["x"]].values.view(np.float32)
            known = seen.get(name) or _empty(read.shape[1])
            try:
                seen[name] = observers.add(known, read)
            except ValueError as error:
                raise ValueError(f"step {name!r}: {error}") from None
    return seen


def merge(parts: list[dict[str, Observed]]) -> dict[str, Observed]:
    """What several workers saw together, by step name."""
    merged: dict[str, Observed] = {}
    for part in parts:
        for name, seen in part.items():
            merged[name] = observers.merge(merged[name], seen) if name in merged else seen
    return merged


def to_tensors(seen: Mapping[str, Observed]) -> dict[str, Tensor]:
    """Observations as dense tensors `<n>/<field>`, n numbering the steps in order."""
    tensors: dict[str, Tensor] = {}
    for at, one in enumerate(seen.values()):
        numbers = np.array([float(getattr(one, name)) for name in _NUMBERS])
        tensors[f"{at}/numbers"] = dense(numbers)
        for name in _ARRAYS:
            if (array := getattr(one, name)) is not None:
                tensors[f"{at}/{name}"] = dense(array)
    return tensors


def from_tensors(tensors: Mapping[str, Tensor], steps: list[str]) -> dict[str, Observed]:
    """Undo `to_tensors`.

    Args:
        steps: names in order.

    Raises:
        ValueError: a tensor is missing or has another shape.
    """
    try:
        return {name: _observed(tensors, at) for at, name in enumerate(steps)}
    except KeyError as error:
        raise ValueError(f"an observation lacks the tensor {error}") from None


def _observed(tensors: Mapping[str, Tensor], at: int) -> Observed:
    numbers = tensors[f"{at}/numbers"].values.astype(np.float64)
    counts = tensors[f"{at}/counts"].values.astype(np.int64)
    if numbers.shape != (len(_NUMBERS),) or counts.shape != (BINS,):
        raise ValueError(f"an observation has {len(_NUMBERS)} numbers and {BINS} bins")
    rows, *others = (float(number) for number in numbers)
    held = tensors.get(f"{at}/gram")
    largest = tensors[f"{at}/largest"].values.astype(np.float32)
    empty = observers.empty(largest.size)
    return replace(
        empty,
        rows=int(rows),
        **dict(zip(_NUMBERS[1:], others, strict=True)),
        counts=counts,
        largest=largest,
        total=tensors[f"{at}/total"].values.astype(np.float64),
        gram=None if held is None else held.values.astype(np.float64),
    )


def _empty(columns: int) -> Observed:
    """With second moments where there is room for them."""
    return observers.empty(columns, gram=columns <= MAX_GRAM)
