"""Collects the steps and weights of a network while a file is read; names stay unique and short."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np

from shared.contracts.errors import InvalidNetwork
from shared.network.graph import Network, Step
from shared.network.shapes import MAX_ELEMENTS, MAX_NAME
from shared.operators.spec import Scalar
from shared.tensors import layouts
from shared.tensors.dtypes import F32, Array, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType

_HINT = 200  # characters kept of a name from the file; room for a suffix below MAX_NAME


class Unsupported(Exception):
    """A node has no counterpart; the message says why. Caught where nodes are walked."""


@dataclass(frozen=True, slots=True)
class Activation:
    """A value that depends on the input: its rows are the batch, `tail` is the shape of one row."""

    name: str
    dtype: Dtype
    tail: tuple[int, ...]

    @property
    def type(self) -> TensorType:
        """As a network declares it, the batch open."""
        return TensorType(Layout.DENSE, self.dtype, (None, *self.tail))


@dataclass(slots=True)
class Builder:
    """A network in the making.

    `reserved` are the names clients see; nothing else may take them. `batch` is the batch size the
    file was exported for, None when it leaves that open.
    """

    reserved: frozenset[str]
    batch: int | None = None
    steps: list[Step] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    _values: set[str] = field(default_factory=set)
    _steps: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._values |= self.reserved

    def weight(self, hint: str, values: Array) -> str:
        """Add a weight and return its name.

        Args:
            hint: the name it should have if that is free.
            values: any shape and numeric type; becomes float32.

        Raises:
            InvalidNetwork: a value is NaN, infinite, or beyond float32.
        """
        name = _unique(hint, self._values)
        self.weights[name] = layouts.dense(as_f32(hint, values))
        return name

    def step(
        self,
        operator: str,
        hint: str,
        inputs: Mapping[str, str],
        tail: tuple[int, ...],
        **attributes: Scalar,
    ) -> Activation:
        """Add a step with the one output `y` float32 and return that.

        Raises:
            InvalidNetwork: one row of the output would be too large.
        """
        if prod(tail) > MAX_ELEMENTS:
            raise InvalidNetwork(f"{hint[:80]!r} makes {tail} per row, over {MAX_ELEMENTS}")
        name = _unique(hint, self._steps)
        value = _unique(hint, self._values)
        self.steps.append(Step(name, operator, dict(inputs), {"y": value}, attributes))
        return Activation(value, Dtype.F32, tail)

    def finish(
        self, inputs: Mapping[str, Activation], outputs: Mapping[str, Activation]
    ) -> Network:
        """The network with its outputs under their own names.

        Args:
            inputs: by client name.
            outputs: by client name; several may be one value, or an input passed through.
        """
        renamed: dict[str, str] = {}
        taken = {value.name for value in inputs.values()}
        for name, value in outputs.items():
            if value.name in taken:
                copied = self.step("copy", name, {"x": value.name}, value.tail)
                renamed[copied.name] = name
            else:
                taken.add(value.name)
                renamed[value.name] = name
        return Network(
            inputs={name: value.type for name, value in inputs.items()},
            outputs=tuple(outputs),
            steps=tuple(_renamed(step, renamed) for step in self.steps),
            weights=self.weights,
        )


def as_f32(name: str, values: Array) -> F32:
    """The values as float32.

    Raises:
        InvalidNetwork: a value is NaN, infinite, or beyond float32.
    """
    with np.errstate(over="ignore"):
        held: F32 = np.asarray(values).astype(np.float32, copy=False)
    if not np.isfinite(held).all():
        raise InvalidNetwork(f"constant {name[:80]!r} holds NaN, infinity or more than float32 can")
    return held


def _unique(hint: str, taken: set[str]) -> str:
    stem = hint[:_HINT] or "unnamed"
    assert len(stem) < MAX_NAME
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}#{number}"
    taken.add(name)
    return name


def _renamed(step: Step, names: Mapping[str, str]) -> Step:
    inputs = {port: names.get(value, value) for port, value in step.inputs.items()}
    outputs = {port: names.get(value, value) for port, value in step.outputs.items()}
    return Step(step.name, step.operator, inputs, outputs, step.attributes)
