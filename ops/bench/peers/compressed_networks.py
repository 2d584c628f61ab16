"""Networks quantized by ONNX Runtime or torchao; sides of the comparison of quantized networks.

Runs in a virtual environment of its own that has these libraries, a process for each.
"""

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

import numpy as np

from ops.bench import contender
from ops.bench.contender import Work

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
Made = tuple[Callable[[np.ndarray], np.ndarray], float]  # rows to scores, bytes


def prepare(case: Mapping[str, object]) -> dict[str, Work]:
    """Every way in which the library quantizes; scores of all held-out rows are written."""
    with np.load(str(case["file"])) as held:
        arrays = dict(held)
    with contextlib.redirect_stdout(sys.stderr):  # the tools talk; stdout is the protocol's
        made = list(LIBRARIES[sys.argv[1]](str(case["onnx"]), arrays))
    rows = arrays["held_x"][: int(str(case["batch"]))]
    works = {}
    for name, (call, size) in made:
        path = Path(str(case["scores"])) / f"{sys.argv[1]}.{name}.npy"
        np.save(path, call(arrays["held_x"]))
        works[name] = Work(lambda call=call: call(rows), size)
    return works


def onnxruntime(path: str, arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, Made]]:
    """Dynamic, and static with three rules for the ranges; per channel, QDQ."""
    from onnxruntime import quantization as q

    logging.disable(logging.WARNING)
    yield "float32", _session(path)
    with tempfile.TemporaryDirectory() as folder:
        target = f"{folder}/net.onnx"
        q.quantize_dynamic(path, target, per_channel=True, weight_type=q.QuantType.QInt8)
        yield "int8 dynamic", _session(target)
        for rule in ("MinMax", "Entropy", "Percentile"):
            q.quantize_static(
                path,
                target,
                _Rows(arrays["x"]),
                per_channel=True,
                weight_type=q.QuantType.QInt8,
                calibrate_method=getattr(q.CalibrationMethod, rule),
            )
            yield f"int8 static {rule}", _session(target)


class _Rows:
    """Calibration rows as the quantizer draws them, 64 at a time; it wants equal batches."""

    def __init__(self, x: np.ndarray) -> None:
        self._parts = iter(np.split(x[: len(x) // 64 * 64], len(x) // 64))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next rows by input name; None at the end."""
        part = next(self._parts, None)
        return None if part is None else {"pixels": part}


def _session(path: str) -> Made:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = ort.InferenceSession(Path(path).read_bytes(), options)
    return lambda x: session.run(None, {"pixels": x})[0], float(Path(path).stat().st_size)


def torchao(path: str, arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, Made]]:
    """Weights alone in 8 bits, weights and activations in 8 bits; eager, as its tutorial has it."""
    warnings.simplefilter("ignore")
    import torch
    from torchao import quantization as q

    torch.set_num_threads(THREADS)
    yield "float32", _module(_plain(arrays))
    for name, config in (
        ("int8 weight-only", q.Int8WeightOnlyConfig()),
        ("int8 dynamic", q.Int8DynamicActivationInt8WeightConfig()),
    ):
        module = _plain(arrays)
        q.quantize_(module, config)
        yield name, _module(module)


def _plain(arrays: Mapping[str, np.ndarray]) -> "object":
    import torch

    layers: list[torch.nn.Module] = []
    count = sum(name.startswith("w") for name in arrays)
    for at in range(count):
        weight = torch.from_numpy(arrays[f"w{at}"])
        layer = torch.nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight.data, layer.bias.data = weight, torch.from_numpy(arrays[f"b{at}"])
        layers += [layer] if at == count - 1 else [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers).eval()


def _module(module: "object") -> Made:
    import torch

    def call(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(x)).numpy()

    return call, float(sum(_bytes(p) for p in module.parameters()))


def _bytes(parameter: "object") -> int:
    """Of a plain parameter, or of the parts of a quantized one."""
    parts = getattr(parameter, "__tensor_flatten__", None)
    if parts is None or type(parameter).__name__ == "Parameter":
        return parameter.numel() * parameter.element_size()
    return sum(_bytes(getattr(parameter, name)) for name in parts()[0])


def facts() -> dict[str, str]:
    """The library's version."""
    names = {"onnxruntime": ("onnxruntime",), "torchao": ("torch", "torchao")}[sys.argv[1]]
    return {name: metadata.version(name) for name in names}


LIBRARIES = {"onnxruntime": onnxruntime, "torchao": torchao}

if __name__ == "__main__":
    contender.serve(prepare, facts)
