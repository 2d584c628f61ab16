"""One node of an ONNX graph as a translator sees it: values instead of names, plain attributes."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import AttributeProto, NodeProto

from services.compressor.importers import onnx_file
from services.compressor.importers.builder import Activation, Unsupported
from shared.tensors.dtypes import Array, Dtype

Value = Activation | Array
Plain = int | float | str | tuple[int, ...] | tuple[float, ...] | Array


@dataclass(frozen=True, slots=True)
class Node:
    """An operator with its inputs: activations, constants, or None where one is left out."""

    name: str
    operator: str
    opset: int
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Plain]

    def activation(self, position: int) -> Activation:
        """Input `position`, which must be float32 and depend on the network's input."""
        value = self._given(position)
        if not isinstance(value, Activation):
            raise Unsupported(f"input {position} is a constant")
        if value.dtype is not Dtype.F32:
            raise Unsupported(f"input {position} is {value.dtype}; cast it to float32 first")
        return value

    def constant(self, position: int) -> Array:
        """Input `position`, which must not depend on the network's input."""
        value = self._given(position)
        if isinstance(value, Activation):
            raise Unsupported(f"input {position} must be a constant")
        return value

    def pair(self) -> tuple[Value, Value]:
        """Inputs 0 and 1, either of both kinds."""
        return self._given(0), self._given(1)

    def optional(self, position: int) -> Array | None:
        """Like `constant`, None when it is left out."""
        return self.constant(position) if self.has(position) else None

    def has(self, position: int) -> bool:
        """Whether input `position` is given."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def is_constant(self) -> bool:
        """Whether no input depends on the network's input."""
        return not any(isinstance(value, Activation) for value in self.inputs)

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise Unsupported(f"attribute {name} is {value!r}, not an integer")
        return value

    def number(self, name: str, default: float) -> float:
        """A float attribute, finite."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float) or not np.isfinite(value):
            raise Unsupported(f"attribute {name} is {value!r}, not a finite number")
        return float(value)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list of integers, None when it is left out."""
        value = self.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, tuple):
            raise Unsupported(f"attribute {name} is {value!r}, not a list of integers")
        return tuple(int(size) for size in value)

    def _given(self, position: int) -> Value:
        value = self.inputs[position] if position < len(self.inputs) else None
        if value is None:
            raise Unsupported(f"input {position} is left out")
        return value


def attributes(proto: NodeProto) -> dict[str, Plain]:
    """The attributes of a node by name.

    Raises:
        Unsupported: one holds a graph, several tensors, or refers to a function's argument.
        InvalidNetwork: a tensor among them is inconsistent.
    """
    return {attribute.name: _plain(attribute) for attribute in proto.attribute}


def _plain(attribute: AttributeProto) -> Plain:
    match attribute.type:
        case AttributeProto.INT:
            return int(attribute.i)
        case AttributeProto.FLOAT:
            return float(attribute.f)
        case AttributeProto.STRING:
            return attribute.s.decode(errors="replace")
        case AttributeProto.INTS:
            return tuple(attribute.ints)
        case AttributeProto.FLOATS:
            return tuple(attribute.floats)
        case AttributeProto.TENSOR:
            return onnx_file.array(attribute.t)
        case kind:
            raise Unsupported(f"attribute {attribute.name[:80]} is of kind {kind}")
