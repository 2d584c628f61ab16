"""Collects the nodes and constants of an ONNX graph; names that are made here meet no other."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto, TensorProto, helper

from shared.network.graph import Network
from shared.operators.spec import Attributes
from shared.tensors import dtypes
from shared.tensors.dtypes import I8, U8, Array, Dtype
from shared.tensors.packing import join_nibbles, join_places

ELEMENTS: Mapping[Dtype, int] = {
    Dtype.F32: TensorProto.FLOAT,
    Dtype.F64: TensorProto.DOUBLE,
    Dtype.F16: TensorProto.FLOAT16,
    Dtype.BF16: TensorProto.BFLOAT16,
    Dtype.BOOL: TensorProto.BOOL,
    Dtype.I8: TensorProto.INT8,
    Dtype.I16: TensorProto.INT16,
    Dtype.I32: TensorProto.INT32,
    Dtype.I64: TensorProto.INT64,
    Dtype.U8: TensorProto.UINT8,
    Dtype.U16: TensorProto.UINT16,
    Dtype.U32: TensorProto.UINT32,
    Dtype.U64: TensorProto.UINT64,
}


@dataclass(slots=True)
class Writer:
    """A graph in the making, of a network whose value names stay as they are."""

    network: Network
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, TensorProto] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._taken |= {*self.network.inputs, *self.network.weights}
        self._taken |= {made for step in self.network.steps for made in step.outputs.values()}

    def name(self, hint: str) -> str:
        """A name that nothing has yet."""
        found, number = hint, 1
        while found in self._taken:
            number += 1
            found = f"{hint}#{number}"
        self._taken.add(found)
        return found

    def node(
        self,
        operator: str,
        inputs: list[str],
        hint: str,
        *,
        output: str = "",
        attributes: Attributes | None = None,
    ) -> str:
        """Add a node with one output and return that output's name.

        Args:
            hint: names the node, and its output when that is given no name.
            output: the name it must have.
        """
        made = output or self.name(hint)
        node = helper.make_node(operator, inputs, [made], name=hint)
        given = (attributes or {}).items()
        node.attribute.extend(helper.make_attribute(key, value) for key, value in given)
        self.nodes.append(node)
        return made

    def constant(self, hint: str, values: Array) -> str:
        """Add a constant of a numpy type and return its name."""
        name = self.name(hint)
        self._store(name, ELEMENTS[dtypes.of(values)], values.shape, values)
        return name

    def weight(self, name: str) -> str:
        """A dense weight of the network under its own name, stored when it is first read."""
        if name not in self.constants:
            held = self.network.weights[name]
            self._store(name, ELEMENTS[held.dtype], held.shape, held.values)
        return name

    def nibbles(self, hint: str, codes: I8) -> str:
        """Add a constant of INT4 and return its name; the elements of all rows are packed as one.

        Args:
            codes: any shape, each in -8..7.
        """
        name = self.name(hint)
        self._store(name, TensorProto.INT4, codes.shape, join_nibbles(codes.reshape(-1)))
        return name

    def unsigned_nibbles(self, hint: str, codes: U8) -> str:
        """Add a constant of UINT4 and return its name; see `nibbles`.

        Args:
            codes: any shape, each in 0..15.
        """
        name = self.name(hint)
        self._store(name, TensorProto.UINT4, codes.shape, join_places(codes.reshape(-1)))
        return name

    def read(self, value: str) -> str:
        """The name of a value that a step reads; a weight is stored then."""
        return self.weight(value) if value in self.network.weights else value

    def _store(self, name: str, kind: int, shape: tuple[int, ...], values: Array) -> None:
        raw = np.ascontiguousarray(values).tobytes()
        self.constants[name] = TensorProto(name=name, data_type=kind, dims=shape, raw_data=raw)
