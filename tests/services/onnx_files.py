"""ONNX files for tests, written with the helper functions of the onnx package."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from services.compressor.importers import onnx_file, onnx_graph
from services.compressor.importers.onnx_graph import Translated
from shared.tensors.dtypes import Array

OPSET = 17
W = np.random.default_rng(1).standard_normal((4, 5)).astype(np.float32)


def file(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, Array] | None = None,
    *,
    x: Sequence[int | str | None] = ("batch", 4),
    opset: int = OPSET,
    outputs: Sequence[str] = ("y",),
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model from `x` to `outputs`; the shapes of the outputs are left open."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info("x", dtype, list(x))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


node = helper.make_node


def f32(*values: object) -> Array:
    return np.array(values, np.float32)


def translate(model: onnx.ModelProto) -> Translated:
    """Import a model as a file, in this process."""
    return onnx_graph.translate(onnx_file.decode(model.SerializeToString()))
