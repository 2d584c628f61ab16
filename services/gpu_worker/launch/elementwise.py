"""Launches of functions of single elements, of two, and of the last axis."""

from services.gpu_worker.launch.call import Call
from shared.contracts.errors import DeviceFailed
from shared.tensors.dtypes import Dtype

PER_ITEM = 4  # elements of one work-item: a 128-bit load
WORD = 4  # bytes of one element of the copy kernel
C_TYPES = {  # storage of an element in OpenCL C, where half and bool cannot be stored
    Dtype.BOOL: "uchar",
    Dtype.U8: "uchar",
    Dtype.U16: "ushort",
    Dtype.U32: "uint",
    Dtype.U64: "ulong",
    Dtype.I8: "char",
    Dtype.I16: "short",
    Dtype.I32: "int",
    Dtype.I64: "long",
    Dtype.F16: "ushort",
    Dtype.BF16: "ushort",
    Dtype.F32: "float",
    Dtype.F64: "double",
}
_ORDER = tuple(C_TYPES)  # how cast.cl numbers the targets
_READ = {Dtype.F32: 1, Dtype.F64: 1, Dtype.F16: 2, Dtype.BF16: 3}  # of cast.cl; integers are 0


class NoDoubles(DeviceFailed):
    """The device does not compute with 64-bit floats; it will not learn to."""

    retryable = False
    fix = "cast to f64 on a CPU worker"


def relu(call: Call) -> None:
    """y = max(x, 0)."""
    _map(call, "relu")


def copy(call: Call) -> None:
    """y = x, bit for bit."""
    _map(call, "copy")


def sigmoid(call: Call) -> None:
    """y = 1 / (1 + exp(-x))."""
    _map(call, "sigmoid")


def tanh(call: Call) -> None:
    """y = tanh(x); OpenCL C has a function of that name, so the kernel has another."""
    _map(call, "tanh", entry="tanh_map")


def clip(call: Call) -> None:
    """y = min(max(x, low), high)."""
    _map(call, "clip", call.number("low"), call.number("high"))


def softmax(call: Call) -> None:
    """One row per work-item on a processor, per wavefront on a card."""
    x, lanes = call.inputs["x"], call.gpu.tuning.lanes
    cols = x.shape[-1]
    rows = x.size // cols if cols else 0
    kernel = call.gpu.programs.kernel("softmax", {"LANES": lanes})
    kernel.launch(rows * lanes, rows, cols, call.buffer("x"), call.output("y"))


def cast(call: Call) -> None:
    """Every element in another type; the same type is copied bit for bit.

    Raises:
        NoDoubles: the target is f64 and the device does not compute with it.
    """
    x, target, doubles = call.inputs["x"], call.types["y"].dtype, call.gpu.device.doubles
    source, programs = x.type.dtype, call.gpu.programs
    if source is target:
        words = -(-x.size * source.itemsize // WORD)  # buffers are made of whole words
        programs.kernel("copy", {}).launch(quads(words), words, call.buffer("x"), call.output("y"))
        return
    if target is Dtype.F64 and not doubles:
        raise NoDoubles(f"{call.gpu.device.name} does not compute with f64")
    defines = call.gpu.tuning.items | {
        "FROM": C_TYPES[source],
        "READ": _READ.get(source, 0),
        "DOUBLES": int(doubles),
    }
    kernel = programs.kernel("cast", defines)
    kernel.launch(x.size, x.size, _ORDER.index(target), call.buffer("x"), call.output("y"))


def add(call: Call) -> None:
    """y = a + b."""
    _pair(call, "add")


def mul(call: Call) -> None:
    """y = a b."""
    _pair(call, "mul")


def _map(call: Call, name: str, *parameters: float, entry: str | None = None) -> None:
    """One input, one output of its shape."""
    count = call.inputs["x"].size
    x, y = call.buffer("x"), call.output("y")
    kernel = call.gpu.programs.kernel(name, call.gpu.tuning.items, entry)
    kernel.launch(quads(count), count, *parameters, x, y)


def _pair(call: Call, name: str) -> None:
    """Two inputs, the second repeated: its period is its own size."""
    count, period = call.inputs["a"].size, call.inputs["b"].size
    a, b, y = call.buffer("a"), call.buffer("b"), call.output("y")
    kernel = call.gpu.programs.kernel(name, call.gpu.tuning.items)
    kernel.launch(quads(count), count, period, a, b, y)


def quads(count: int) -> int:
    """Work-items that take `count` elements four by four."""
    return -(-count // PER_ITEM)
