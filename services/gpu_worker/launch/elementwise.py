"""Launches of functions of single elements, of two, and of the last axis."""

from services.gpu_worker.launch.call import Call

PER_ITEM = 4  # elements of one work-item: a 128-bit load


def relu(call: Call) -> None:
    """y = max(x, 0)."""
    _map(call, "relu")


def copy(call: Call) -> None:
    """y = x, bit for bit."""
    _map(call, "copy")


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
    kernel = call.gpu.programs.kernel(name, {}, entry)
    kernel.launch(_quads(count), count, *parameters, x, y)


def _pair(call: Call, name: str) -> None:
    """Two inputs, the second repeated: its period is its own size."""
    count, period = call.inputs["a"].size, call.inputs["b"].size
    a, b, y = call.buffer("a"), call.buffer("b"), call.output("y")
    call.gpu.programs.kernel(name, {}).launch(_quads(count), count, period, a, b, y)


def _quads(count: int) -> int:
    return -(-count // PER_ITEM)
