"""Calls on tensors larger than one buffer: the operator's own launcher, once per range of rows.

    map      row r of an output depends on row r of the inputs of its shape, and on the others whole
    product  y = x W^T: rows of y by rows of x, columns of y by rows of W;
             y = W x of a sparse W: rows of y by rows of W

An output is put together in one buffer where it fits, else it keeps the pieces it was made in.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise

from services.gpu_worker import pieces
from services.gpu_worker.launch import rows
from services.gpu_worker.launch.call import Call
from services.gpu_worker.limits import LimitExceeded
from services.gpu_worker.memory import GRANULE, whole
from services.gpu_worker.resident import DeviceTensor, Piece
from shared.operators.spec import OperatorSpec
from shared.tensors.layouts import TensorType

Launcher = Callable[[Call], None]
Operands = dict[str, DeviceTensor]  # by port
MAPS = frozenset(
    ("relu", "sigmoid", "tanh", "copy", "clip", "cast", "softmax", "add", "mul", "lif_step")
)
GEMMS = ("gemm_f32", "gemm_i8", "gemm_i4")
SPMMS = ("spmm_csr", "spmm_csc", "spmm_block", "spmm_sell", "spmm_nm", "spmm_bitmask")
PRODUCTS = frozenset((*GEMMS, *SPMMS))


def needed(call: Call) -> bool:
    """Whether an input lies in pieces, or an output will."""
    if any(tensor.pieces for tensor in call.inputs.values()):
        return True
    limit = call.gpu.device.limits.buffer_bytes
    return any(rows.nbytes(kind) > limit for kind in call.types.values())


def launch(spec: OperatorSpec, call: Call, launcher: Launcher) -> None:
    """Run a call range by range.

    Raises:
        LimitExceeded: the operator cannot be cut, or one row is larger than a buffer.
    """
    shape = next(iter(call.types.values())).shape
    ranges = _Ranges(spec, call, launcher)
    if spec.name in PRODUCTS:
        if call.attributes.get("batch_first", True):
            ranges.run(("x",), ranges.columns)
        else:
            ranges.run(("weight", "bias"), ranges.once)
    elif spec.name in MAPS and not (spec.name == "softmax" and len(shape) < 2):
        same = [port for port, held in call.inputs.items() if held.shape == shape]
        ranges.run(same, ranges.once)
    else:
        raise LimitExceeded(
            f"{spec.name} takes no tensor larger than one buffer of "
            f"{call.gpu.device.limits.buffer_bytes} bytes"
        )


@dataclass(slots=True, eq=False)
class _Output:
    """An output in the making: one tensor to be filled, or the pieces so far."""

    target: DeviceTensor
    joined: bool  # whether the target has a buffer of its own


class _Ranges:
    """One call, range by range. What is made on the way is scratch of the call."""

    def __init__(self, spec: OperatorSpec, call: Call, launcher: Launcher) -> None:
        self._spec = spec
        self._call = call
        self._launcher = launcher

    def run(self, ports: Collection[str], one: Callable[[Operands], Operands]) -> None:
        """For each range of the output's rows, what `one` makes of the inputs; those of `ports`
        are cut to the range."""
        call = self._call
        held = {port: call.inputs[port] for port in ports if port in call.inputs}
        outputs = {port: self._output(port, kind) for port, kind in call.types.items()}
        before = len(call.scratch)
        for start, stop in self._ranges(held.values()):
            cut = {port: rows.cut(call, tensor, start, stop) for port, tensor in held.items()}
            for port, made in one({**call.inputs, **cut}).items():
                self._add(outputs[port], start, made)
            rows.discard(call, before)

    def once(self, inputs: Operands) -> Operands:
        """The operator on whole tensors."""
        types = {port: tensor.type for port, tensor in inputs.items()}
        attributes = self._call.attributes
        call = Call(self._call.gpu, inputs, attributes, self._spec.infer(types, attributes))
        try:
            self._launcher(call)
        finally:
            self._call.scratch.extend((*call.outputs.values(), *call.scratch))
        return call.outputs

    def columns(self, inputs: Operands) -> Operands:
        """A product whose weight may lie in pieces: each makes some columns of y."""
        call, weight = self._call, inputs["weight"]
        if not weight.pieces:
            return self.once(inputs)
        n, (m, *_) = inputs["x"].shape[0], weight.shape
        kind = call.types["y"]
        y = call.gpu.residency.empty(TensorType(kind.layout, kind.dtype, (n, m)))
        call.scratch.append(y)
        before = len(call.scratch)
        for piece in weight.pieces:
            some = {**inputs, "weight": piece.tensor}
            if "bias" in inputs:
                some["bias"] = rows.cut(call, inputs["bias"], piece.start, piece.stop)
            rows.paste(call, self.once(some)["y"], y, 0, piece.start)
            rows.discard(call, before)
        return {"y": y}

    def _output(self, port: str, kind: TensorType) -> _Output:
        call = self._call
        if _fits(call, kind):
            made = _Output(call.gpu.residency.empty(kind), joined=True)
        else:
            call.gpu.device.limits.check_elements(rows.count(kind))
            made = _Output(DeviceTensor(kind, {}), joined=False)
        call.outputs[port] = made.target
        return made

    def _add(self, output: _Output, start: int, made: DeviceTensor) -> None:
        """Take what a range made: copied into the whole, or as it is."""
        if output.joined:
            rows.paste(self._call, made, output.target, start)
            return
        self._call.scratch.remove(made)
        output.target.pieces = (*output.target.pieces, Piece(start, made))

    def _ranges(self, inputs: Iterable[DeviceTensor]) -> list[pieces.Range]:
        """The rows between all places at which an input is cut or an output has to be."""
        cuts = {0}
        for tensor in inputs:
            cuts.update(piece.stop for piece in tensor.pieces)
        for kind in self._call.types.values():
            cuts.update(stop for _, stop in self._natural(kind))
        return list(pairwise(sorted(cuts)))

    def _natural(self, kind: TensorType) -> list[pieces.Range]:
        """Ranges of an output's rows that fit a buffer each."""
        count, limits = rows.known(kind)[0], self._call.gpu.device.limits
        row = rows.nbytes(kind) // max(count, 1)
        if _fits(self._call, kind):
            return [(0, count)]
        limits.check_buffer(whole(row))
        return pieces.even(count, row, limits.buffer_bytes // GRANULE * GRANULE)


def _fits(call: Call, kind: TensorType) -> bool:
    """Whether a dense tensor has room in one buffer."""
    return rows.nbytes(kind) <= call.gpu.device.limits.buffer_bytes
