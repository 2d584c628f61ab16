"""Products with dense and quantized weights in numpy, ONNX Runtime or torch; sides of `bench
quantized`.

Runs in a virtual environment of its own that has these libraries, a process for each: the idle
threads of one would slow another. Weights are made, packed and, where the library does so, laid out
anew before any timing; a call takes x as it is and returns float32, or int32 for MatMulInteger.
"""

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np

from ops.bench import contender, weights
from ops.bench.contender import Call, Work

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
BLOCK = weights.GROUP  # columns that share a scale in MatMulNBits
ACCURACY = {32: 1, 8: 4}  # accuracy_level of MatMulNBits by bits of x: float32, int8 per block


def prepare(library: str, case: Mapping[str, object]) -> dict[str, Work]:
    """Calls of one library for a size and a number of rows, each checked once."""
    weight, x = weights.values(weights.number(case, "size")), weights.x(case)
    wanted = x @ weight.T
    calls: dict[str, Callable[[], Any]] = {}
    match library:
        case "numpy":
            calls["f32"] = lambda: x @ weight.T
        case "onnxruntime":
            calls = _onnxruntime(weight, x, weights.octets(case))
        case "torch":
            calls = _torch(weight, x)
    for name, call in calls.items():
        if name != "MatMulInteger":  # its int32 sums are checked where its model is made
            error = np.abs(np.asarray(call()) - wanted).max()
            assert error < TOLERANCE[name], f"{library} {name} is off by {error}"
    return {name: Work(call) for name, call in calls.items()}


# The largest error seen of a result of about one: float32, or bytes, or four bits.
TOLERANCE = {
    "f32": 1e-3,
    "dynamic": 0.2,
    "int8 dynamic": 0.2,
    "MatMulNBits": 1.0,
    "MatMulNBits x 8": 1.0,
}


def _torch(weight: np.ndarray, x: np.ndarray) -> dict[str, Call]:
    """float32, and torch's dynamic quantization, with the engine that it takes by itself."""
    import torch

    warnings.filterwarnings("ignore")  # it says that its quantization moves to torchao
    torch.set_num_threads(THREADS)
    held, given = torch.from_numpy(weight), torch.from_numpy(x)
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad():
        layer.weight.copy_(held)
    dynamic = torch.ao.quantization.quantize_dynamic(
        torch.nn.Sequential(layer), {torch.nn.Linear}, torch.qint8
    )

    def quantized() -> Any:
        with torch.no_grad():
            return dynamic(given)

    return {"f32": lambda: given @ held.T, "int8 dynamic": quantized}


def _onnxruntime(weight: np.ndarray, x: np.ndarray, octets: np.ndarray) -> dict[str, Call]:
    """float32, the exact product of bytes, what its dynamic quantizer makes, and four bits."""
    rows, cols = weight.shape
    eight, scale = weights.codes(weight, 8)
    four, scales = weights.codes(weight, 4, BLOCK)
    packed = (four[:, 0::2] + 8).astype(np.uint8) | ((four[:, 1::2] + 8).astype(np.uint8) << 4)
    moved = (octets.astype(np.int16) + 128).astype(np.uint8)
    plain = _session([_node("MatMul", "x w", "y")], {"w": np.ascontiguousarray(weight.T)}, x, rows)
    eight_t = np.ascontiguousarray(eight.T)
    integer = _session(
        [_node("MatMulInteger", "x w z", "y")],
        {"w": eight_t, "z": np.array(128, np.uint8)},
        moved,
        rows,
    )
    sums = integer.run(None, {"x": moved})[0][:, :4]
    np.testing.assert_array_equal(sums, octets.astype(np.int64) @ eight[:4].T.astype(np.int64))
    dynamic = _session(
        [
            _node("DynamicQuantizeLinear", "x", "q s z"),
            _node("MatMulInteger", "q w z", "i"),
            _node("Cast", "i", "f", to=1),
            _node("Mul", "s w_scale", "t"),
            _node("Mul", "f t", "y"),
        ],
        {"w": eight_t, "w_scale": scale.reshape(-1)},
        x,
        rows,
    )
    calls: dict[str, Call] = {
        "f32": lambda: plain.run(None, {"x": x})[0],
        "MatMulInteger": lambda: integer.run(None, {"x": moved})[0],
        "dynamic": lambda: dynamic.run(None, {"x": x})[0],
    }
    for bits, name in ((32, "MatMulNBits"), (8, "MatMulNBits x 8")):
        sizes = {"K": cols, "N": rows, "bits": 4, "block_size": BLOCK}
        node = _node(
            "MatMulNBits",
            "x w s",
            "y",
            domain="com.microsoft",
            accuracy_level=ACCURACY[bits],
            **sizes,
        )
        held = {"w": packed.reshape(rows, cols // BLOCK, BLOCK // 2), "s": scales}
        calls[name] = partial(_first, _session([node], held, x, rows), x)
    return calls


def _first(session: Any, x: np.ndarray) -> np.ndarray:
    found: np.ndarray = session.run(None, {"x": x})[0]
    return found


def _node(operator: str, inputs: str, outputs: str, **attributes: object) -> Any:
    from onnx import helper

    return helper.make_node(operator, inputs.split(), outputs.split(), **attributes)


def _session(nodes: list[Any], held: Mapping[str, np.ndarray], x: np.ndarray, columns: int) -> Any:
    """A model of these nodes: x (rows, size) of its type to y (rows, columns)."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    kind = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.uint8): TensorProto.UINT8}
    made = TensorProto.INT32 if x.dtype == np.uint8 else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", kind[x.dtype], ["n", x.shape[1]])],
        [helper.make_tensor_value_info("y", made, ["n", columns])],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    sets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=sets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    # As the other pools do, it may not spin for long beside the next rival's calls.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


if __name__ == "__main__":
    wanted = sys.argv[1]
    contender.serve(partial(prepare, wanted), lambda: {wanted: metadata.version(wanted)})
