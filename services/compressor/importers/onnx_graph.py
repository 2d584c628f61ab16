"""Walk the nodes of an ONNX graph once, in order, and build the network that computes the same."""

from collections import Counter
from enum import Enum
from math import prod
from typing import NamedTuple

import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto

from services.compressor.importers import fusion, onnx_file, onnx_node
from services.compressor.importers.builder import Activation, Builder, Unsupported
from services.compressor.importers.coverage import Coverage, Refused
from services.compressor.importers.onnx_node import Node, Value
from services.compressor.importers.onnx_operators import OPERATORS
from shared.contracts.errors import InvalidNetwork, UnsupportedOperator
from shared.network import shapes
from shared.network.graph import Network
from shared.network.shapes import MAX_ELEMENTS, MAX_NAME
from shared.tensors.dtypes import Dtype

_DTYPES: dict[int, Dtype] = {
    TensorProto.FLOAT: Dtype.F32,
    TensorProto.DOUBLE: Dtype.F64,
    TensorProto.FLOAT16: Dtype.F16,
    TensorProto.BOOL: Dtype.BOOL,
    TensorProto.INT8: Dtype.I8,
    TensorProto.INT16: Dtype.I16,
    TensorProto.INT32: Dtype.I32,
    TensorProto.INT64: Dtype.I64,
    TensorProto.UINT8: Dtype.U8,
    TensorProto.UINT16: Dtype.U16,
    TensorProto.UINT32: Dtype.U32,
    TensorProto.UINT64: Dtype.U64,
}


class Translated(NamedTuple):
    """A network and what of the file went into it."""

    network: Network
    coverage: Coverage


def translate(model: onnx.ModelProto) -> Translated:
    """Build the network of a decoded model.

    Raises:
        InvalidNetwork: the graph contradicts itself: a cycle, an undefined value, shapes that do
            not fit or are too large.
        UnsupportedOperator: names every node without a counterpart.
    """
    walk = _Walk(model)
    for number, node in enumerate(model.graph.node):
        walk.visit(number, node)
    counts = Counter(_operator(node) for node in model.graph.node)
    coverage = Coverage(dict(sorted(counts.items())), tuple(walk.refused))
    if coverage.refused:
        raise UnsupportedOperator(coverage.sentence())
    network = fusion.fuse(walk.finish())
    try:
        shapes.check(network)
    except ValueError as error:
        raise InvalidNetwork(str(error)) from None
    return Translated(network, coverage)


class _Nothing(Enum):
    """A value that a refused node would have made; its readers are not asked."""

    REFUSED = 0


class _Walk:
    """The values known so far, and the nodes refused so far."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        if graph.sparse_initializer:
            raise InvalidNetwork("the file holds sparse initializers; store them dense")
        constants = {tensor.name: onnx_file.array(tensor) for tensor in graph.initializer}
        if len(constants) < len(graph.initializer):
            raise InvalidNetwork("two initializers share one name")
        self._graph = graph
        self._opset = onnx_file.opset(model)
        self._read_names = {name for node in graph.node for name in node.input}
        self._read_names |= {output.name for output in graph.output}
        self._makers = {name for node in graph.node for name in node.output}
        fed = [entry for entry in graph.input if entry.name not in constants]
        self._inputs = {_name(entry): _input(entry) for entry in fed}
        self._values: dict[str, Value | _Nothing] = {**self._inputs, **constants}
        self._builder = Builder(
            frozenset({*self._inputs, *map(_name, graph.output)}), _exported_batch(fed)
        )
        self.refused: list[Refused] = []

    def visit(self, number: int, proto: NodeProto) -> None:
        """Translate one node, or note why it cannot be."""
        name = proto.name or f"{proto.op_type}_{number}"
        inputs = [self._read(name, value) for value in proto.input]
        made: Value | _Nothing = _Nothing.REFUSED
        try:
            made = self._translate(name, proto, inputs)
        except Unsupported as reason:
            self.refused.append(Refused(name, _operator(proto), str(reason)))
        for position, output in enumerate(proto.output):
            if output:
                self._define(output, _Nothing.REFUSED if position else made)

    def finish(self) -> Network:
        """The network, its outputs under the names of the file."""
        outputs = {}
        for proto in self._graph.output:
            value = self._read("the graph's output", proto.name)
            if not isinstance(value, Activation):
                raise InvalidNetwork(f"output {proto.name!r} does not depend on an input")
            if value.dtype is not Dtype.F32:
                raise InvalidNetwork(f"output {proto.name!r} is {value.dtype}; only f32 is served")
            outputs[proto.name] = value
        return self._builder.finish(self._inputs, outputs)

    def _translate(
        self, name: str, proto: NodeProto, inputs: list[Value | _Nothing | None]
    ) -> Value | _Nothing:
        translator = OPERATORS.get(_operator(proto))
        if translator is None:
            raise Unsupported("the operator is not known here")
        given = tuple(value for value in inputs if not isinstance(value, _Nothing))
        if len(given) < len(inputs):
            return _Nothing.REFUSED
        if used := [output for output in proto.output[1:] if output in self._read_names]:
            raise Unsupported(f"its second output {used[0][:80]!r} is used")
        attributes = onnx_node.attributes(proto)
        return translator(Node(name, proto.op_type, self._opset, given, attributes), self._builder)

    def _read(self, reader: str, name: str) -> Value | _Nothing | None:
        if not name:
            return None  # an optional input that is left out
        if name in self._values:
            return self._values[name]
        where = f"{reader[:80]} reads {name[:80]!r}"
        if name in self._makers:
            raise InvalidNetwork(f"{where} before it is made: a cycle, or nodes out of order")
        raise InvalidNetwork(f"{where}, which nothing makes")

    def _define(self, name: str, value: Value | _Nothing) -> None:
        if name in self._values:
            raise InvalidNetwork(f"value {name[:80]!r} is made twice")
        self._values[name] = value


def _operator(node: NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _name(entry: ValueInfoProto) -> str:
    if not 0 < len(entry.name) <= MAX_NAME:
        raise InvalidNetwork(
            f"an input or output name has {len(entry.name)} characters, not 1 to {MAX_NAME}"
        )
    return entry.name


def _exported_batch(inputs: list[ValueInfoProto]) -> int | None:
    """The batch size that all inputs fix, if they do."""
    first = {
        entry.type.tensor_type.shape.dim[0].dim_value for entry in inputs
    }  # 0 where it is open
    return first.pop() or None if len(first) == 1 else None


def _input(entry: ValueInfoProto) -> Activation:
    """An input of the graph. Its first dimension is the batch, whatever the file calls it.

    A file exported for one batch size is opened to all: rows never meet in what is translated.
    """
    if not entry.type.HasField("tensor_type"):
        raise InvalidNetwork(f"input {entry.name!r} is not a tensor")
    tensor = entry.type.tensor_type
    dtype = _DTYPES.get(tensor.elem_type)
    if dtype is None:
        raise InvalidNetwork(f"input {entry.name!r} has element type {tensor.elem_type}")
    sizes = [size.dim_value if size.HasField("dim_value") else None for size in tensor.shape.dim]
    if not 1 <= len(sizes) <= onnx_file.MAX_RANK:
        raise InvalidNetwork(f"input {entry.name!r} needs rank 1 to {onnx_file.MAX_RANK}")
    tail = tuple(size or 0 for size in sizes[1:])
    if not all(size > 0 for size in tail) or prod(tail) > MAX_ELEMENTS:
        shown = ", ".join("?" if size is None else str(size) for size in sizes)
        raise InvalidNetwork(
            f"input {entry.name!r} has shape ({shown}); all but the first must be known, "
            f"with at most {MAX_ELEMENTS} elements"
        )
    return Activation(entry.name, dtype, tail)
