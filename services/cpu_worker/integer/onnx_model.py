"""Single-node models for ONNX Runtime, written byte by byte.

The format is protobuf, and a handful of its messages are all that is needed, so no package stands
between a weight and its session. Source: onnx/onnx.proto, the field numbers.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import util
from typing import Any

from shared.tensors.dtypes import Array

LIMIT = 2**30  # bytes of a weight; a protobuf message ends at 2 GiB
IR_VERSION, OPSET, OWN_OPSET = 10, 21, 1
OWN = b"com.microsoft"  # the library's operators beyond the standard
KINDS = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6}  # TensorProto.DataType
VARINT, BYTES = 0, 2  # wire types
# Without it sums of pairs of products saturate at 16 bits on processors without VNNI.
EXACT = "session.x64quantprecision"
INTEGER = 2  # AttributeProto.AttributeType


class SessionFailed(RuntimeError):
    """ONNX Runtime is absent, or cannot run the product here; ours can."""


def present() -> bool:
    """Whether the library is installed; nothing is imported."""
    return util.find_spec("onnxruntime") is not None


def session(model: bytes, *, threads: int) -> Any:
    """A session for a model; the library packs its own copy of the weight.

    Args:
        model: see `model`.
        threads: that share a product. They do not spin: a worker's cores are shared.

    Raises:
        SessionFailed: the library is absent or refuses.
    """
    with named_failures():
        import onnxruntime  # late: it takes a while, and it may be absent

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.enable_cpu_mem_arena = False  # a session per weight; what each keeps adds up
        options.log_severity_level = 3  # errors
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry(EXACT, "1")
        providers = ["CPUExecutionProvider"]
        return onnxruntime.InferenceSession(model, options, providers=providers)


@contextmanager
def named_failures() -> Iterator[None]:
    """The library's exceptions have no class in common below Exception; here they get one."""
    try:
        yield
    except Exception as error:
        raise SessionFailed(f"{type(error).__name__}: {error}") from error


def model(
    operator: str,
    weights: Mapping[str, Array],
    x: tuple[str, int],
    y: tuple[str, int],
    attributes: Mapping[str, int] | None = None,
) -> bytes:
    """ModelProto of y = operator(x, weights...), x and y being matrices of n rows.

    Args:
        operator: of the standard, or of the library's own where it has attributes.
        weights: further inputs by name, in their order.
        x, y: element type as numpy names it, and columns.
        attributes: whole numbers.
    """
    node = b"".join(_field(1, name.encode()) for name in ("x", *weights))
    node += _field(2, b"y") + _field(4, operator.encode())
    node += b"".join(_field(5, _attribute(*item)) for item in (attributes or {}).items())
    node += _field(7, OWN) if attributes else b""
    graph = _field(1, node) + _field(2, b"product")
    graph += b"".join(_field(5, _tensor(name, held)) for name, held in weights.items())
    graph += _field(11, _port("x", *x)) + _field(12, _port("y", *y))
    sets = _field(8, _number(2, OPSET)) + _field(8, _field(1, OWN) + _number(2, OWN_OPSET))
    return _number(1, IR_VERSION) + _field(7, graph) + sets


def _attribute(name: str, value: int) -> bytes:
    """AttributeProto of a whole number."""
    return _field(1, name.encode()) + _number(3, value) + _number(20, INTEGER)


def _tensor(name: str, held: Array) -> bytes:
    """TensorProto."""
    dims = b"".join(_number(1, size) for size in held.shape)
    kind = _number(2, KINDS[held.dtype.name])
    return dims + kind + _field(8, name.encode()) + _field(9, held.tobytes())


def _port(name: str, kind: str, columns: int) -> bytes:
    """ValueInfoProto of (n, columns)."""
    shape = _field(1, _field(2, b"n")) + _field(1, _number(1, columns))
    tensor = _field(1, _number(1, KINDS[kind]) + _field(2, shape))
    return _field(1, name.encode()) + _field(2, tensor)


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
