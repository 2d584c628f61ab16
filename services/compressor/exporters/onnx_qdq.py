"""A network as an ONNX file: float32 values, weights of few bits behind DequantizeLinear.

Value names stay, so inputs and outputs are called as clients know them; the same network gives the
same bytes. Casts to integers leave values outside the range to the runtime: ONNX does not say.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from onnx import ValueInfoProto, helper

from services.compressor.exporters import onnx_integers, onnx_products
from services.compressor.exporters.onnx_writer import ELEMENTS, Writer
from shared.contracts.errors import TooLarge, UnsupportedOperator
from shared.network import shapes
from shared.network.graph import Network, Step
from shared.operators.spec import Attributes
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import SPARSE, Layout, TensorType

OPSET = 21  # the first with INT4 and blocks of scales
IR_VERSION = 10  # the one that came with it
LARGEST = 2**31 - 1  # bytes of a protobuf file
BATCH = "batch"
_PROBES = (2, 3)  # batches; a size that follows them is open
Write = Callable[[Writer, Step], None]


def encode(network: Network) -> bytes:
    """The bytes of an ONNX file that computes what the network does.

    Raises:
        UnsupportedOperator: names the operators and inputs that ONNX has no counterpart of.
        TooLarge: more than a protobuf file can hold.
    """
    if refused := _refused(network):
        raise UnsupportedOperator(f"ONNX has no counterpart of {', '.join(refused)}")
    writer = Writer(network)
    for step in network.steps:
        _WRITERS[step.operator](writer, step)
    for name in network.outputs:
        writer.read(name)  # a weight may be an output
    _require_room(sum(len(constant.raw_data) for constant in writer.constants.values()))
    inputs = [_described(name, kind) for name, kind in network.inputs.items()]
    constants = list(writer.constants.values())
    graph = helper.make_graph(writer.nodes, "ellesmere", inputs, _outputs(network), constants)
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(
        graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="ellesmere"
    )
    _require_room(model.ByteSize())
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _refused(network: Network) -> list[str]:
    operators = {f"operator {step.operator}" for step in network.steps} - {
        f"operator {name}" for name in _WRITERS
    }
    layouts = {
        f"input {name!r} of layout {kind.layout}"
        for name, kind in network.inputs.items()
        if kind.layout is not Layout.DENSE
    }
    return sorted(operators | layouts)


def _require_room(size: int) -> None:
    if size > LARGEST:
        raise TooLarge(f"an ONNX file of {size} bytes; {LARGEST} at most: export as safetensors")


def _outputs(network: Network) -> list[ValueInfoProto]:
    small, large = (shapes.infer(network, batch) for batch in _PROBES)
    return [_described(name, _opened(small[name], large[name])) for name in network.outputs]


def _opened(small: TensorType, large: TensorType) -> TensorType:
    """The type of an output, `None` in its shape where the batch is."""
    pairs = zip(small.shape, large.shape, strict=True)
    return TensorType(small.layout, small.dtype, tuple(a if a == b else None for a, b in pairs))


def _described(name: str, kind: TensorType) -> ValueInfoProto:
    shape = [BATCH if size is None else size for size in kind.shape]
    return helper.make_tensor_value_info(name, ELEMENTS[kind.dtype], shape)


def _plain(
    operator: str, ports: tuple[str, ...] = ("x",), attributes: Attributes | None = None
) -> Write:
    """An operator that is one node."""

    def write(writer: Writer, step: Step) -> None:
        read = [writer.read(step.inputs[port]) for port in ports]
        writer.node(operator, read, step.name, output=step.outputs["y"], attributes=attributes)

    return write


def _clip(writer: Writer, step: Step) -> None:
    ends = [
        writer.constant(f"{step.name}.{end}", np.array(step.attributes[end], np.float32))
        for end in ("low", "high")
    ]
    x = writer.read(step.inputs["x"])
    writer.node("Clip", [x, *ends], step.name, output=step.outputs["y"])


def _cast(writer: Writer, step: Step) -> None:
    kind = ELEMENTS[Dtype(str(step.attributes["to"]))]
    _plain("Cast", attributes={"to": kind})(writer, step)


def _reduce(operator: str, writer: Writer, step: Step) -> None:
    axis = writer.constant(f"{step.name}.axis", np.array([step.attributes["axis"]], np.int64))
    kept = int(bool(step.attributes.get("keepdims", False)))
    x = writer.read(step.inputs["x"])
    writer.node(
        operator, [x, axis], step.name, output=step.outputs["y"], attributes={"keepdims": kept}
    )


def _reshape(writer: Writer, step: Step) -> None:
    wanted = np.array(step.attributes["shape"], np.int64)  # 0 and -1 mean the same in ONNX
    shape = writer.constant(f"{step.name}.shape", wanted)
    x = writer.read(step.inputs["x"])
    writer.node("Reshape", [x, shape], step.name, output=step.outputs["y"])


def _transpose(writer: Writer, step: Step) -> None:
    perm = step.attributes["perm"]
    write = _plain("Transpose", attributes={"perm": perm}) if perm else _plain("Identity")
    write(writer, step)


_WRITERS: Mapping[str, Write] = {
    "gemm_f32": onnx_products.dense,
    "gemm_i8": onnx_products.quantized,
    "gemm_i4": onnx_products.quantized,
    "gemm_int": onnx_products.quantized,
    "gemm_q8": onnx_integers.integers,
    "quantize_i8": onnx_integers.quantize,
    "dequantize_i8": onnx_integers.dequantize,
    **{f"spmm_{layout}": onnx_products.sparse for layout in SPARSE},
    "relu": _plain("Relu"),
    "sigmoid": _plain("Sigmoid"),
    "tanh": _plain("Tanh"),
    "copy": _plain("Identity"),
    "clip": _clip,
    "softmax": _plain("Softmax", attributes={"axis": -1}),
    "add": _plain("Add", ("a", "b")),
    "mul": _plain("Mul", ("a", "b")),
    "cast": _cast,
    "reduce_sum": partial(_reduce, "ReduceSum"),
    "reduce_mean": partial(_reduce, "ReduceMean"),
    "reduce_max": partial(_reduce, "ReduceMax"),
    "reshape": _reshape,
    "transpose": _transpose,
}
