"""Exact products of bytes by ONNX Runtime's MatMulInteger, one session per weight.

Its kernels use what this processor has beyond vectors (tile registers, where the system shows
them), so it wins for batches on some machines; `choice` finds out. Sessions are single-node models
written here byte by byte: the format is protobuf, and five messages of it are all that is needed.
Threads do not spin: a worker's cores are shared.

Source: onnx/onnx.proto, the field numbers; operator MatMulInteger of opset 10.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import util
from typing import Any

import numpy as np

from shared.tensors.dtypes import I8, I32

LIMIT = 2**30  # bytes of codes; a protobuf message ends at 2 GiB
IR_VERSION, OPSET = 10, 21
UINT8, INT8, INT32 = 2, 3, 6  # TensorProto.DataType
VARINT, BYTES = 0, 2  # wire types
OFFSET = 128  # u8 times s8 is the pair with kernels of its own; x is moved there and back by this


class SessionFailed(RuntimeError):
    """ONNX Runtime is absent, or cannot run the product here; ours can."""


@dataclass(frozen=True, slots=True, eq=False)
class OnnxSums:
    """int8 codes in a session; see `weight.Summing`."""

    session: Any

    def sums(self, x: I8) -> I32:
        """See `weight.Summing`."""
        moved = np.ascontiguousarray(x).view(np.uint8) ^ np.uint8(OFFSET)
        with _named_failures():
            made: I32 = self.session.run(None, {"x": moved})[0]
        return made


def present() -> bool:
    """Whether the library is installed; nothing is imported."""
    return util.find_spec("onnxruntime") is not None


def prepare(codes: I8, *, threads: int) -> OnnxSums:
    """A session for a weight; the library packs a copy of it.

    Args:
        codes: (rows, cols) int8, LIMIT bytes at most.
        threads: that share a product.

    Raises:
        SessionFailed: the library is absent or refuses.
    """
    with _named_failures():
        import onnxruntime  # late: it takes a while, and it may be absent

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.enable_cpu_mem_arena = False  # a session per weight; what each keeps adds up
        options.log_severity_level = 3  # errors
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = ["CPUExecutionProvider"]
        return OnnxSums(onnxruntime.InferenceSession(_model(codes), options, providers=providers))


@contextmanager
def _named_failures() -> Iterator[None]:
    """The library's exceptions have no class in common below Exception; here they get one."""
    try:
        yield
    except Exception as error:
        raise SessionFailed(f"{type(error).__name__}: {error}") from error


def _model(codes: I8) -> bytes:
    """ModelProto of y = MatMulInteger(x, codesᵀ, 128): (n, cols) uint8 to (n, rows) int32."""
    rows, cols = codes.shape
    node = b"".join(_field(1, name) for name in (b"x", b"w", b"z"))
    node += _field(2, b"y") + _field(4, b"MatMulInteger")
    weight = _tensor(b"w", INT8, (cols, rows), np.ascontiguousarray(codes.T).tobytes())
    zero = _tensor(b"z", UINT8, (), bytes([OFFSET]))
    graph = _field(1, node) + _field(2, b"product") + _field(5, weight) + _field(5, zero)
    graph += _field(11, _port(b"x", UINT8, cols)) + _field(12, _port(b"y", INT32, rows))
    return _number(1, IR_VERSION) + _field(7, graph) + _field(8, _number(2, OPSET))


def _tensor(name: bytes, kind: int, shape: tuple[int, ...], raw: bytes) -> bytes:
    """TensorProto."""
    dims = b"".join(_number(1, size) for size in shape)
    return dims + _number(2, kind) + _field(8, name) + _field(9, raw)


def _port(name: bytes, kind: int, columns: int) -> bytes:
    """ValueInfoProto of (n, columns)."""
    shape = _field(1, _field(2, b"n")) + _field(1, _number(1, columns))
    return _field(1, name) + _field(2, _field(1, _number(1, kind) + _field(2, shape)))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | BYTES) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3 | VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the upper bit says that more follow."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])
