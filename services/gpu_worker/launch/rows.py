"""Ranges of rows of tensors on the device: cut out, and put into others, by copies there."""

from math import prod

import pyopencl as cl

from services.gpu_worker.device import Device, trouble
from services.gpu_worker.launch.call import Call
from services.gpu_worker.limits import LimitExceeded
from services.gpu_worker.pieces import Range
from services.gpu_worker.resident import DeviceTensor, Part
from shared.tensors.layouts import Layout, TensorType


def known(kind: TensorType) -> tuple[int, ...]:
    """The shape of something on the device, where no dimension is open."""
    return tuple([size or 0 for size in kind.shape])


def count(kind: TensorType) -> int:
    """Elements of a dense tensor."""
    return prod(known(kind))


def nbytes(kind: TensorType) -> int:
    """Bytes of a dense tensor."""
    return count(kind) * kind.dtype.itemsize


def cut(call: Call, tensor: DeviceTensor, start: int, stop: int) -> DeviceTensor:
    """Rows start..stop: the tensor or a piece of it when these are all its rows, else a copy.

    Args:
        call: frees the copy with its scratch.
        tensor: if in pieces, the rows lie in one of them.
        start: first row.
        stop: the row after the last.

    Raises:
        LimitExceeded: the layout cannot be cut here, or the rows lie in several pieces.
    """
    if (start, stop) == (0, tensor.shape[0]) and not tensor.pieces:
        return tensor
    for piece in tensor.pieces:
        if piece.start <= start and stop <= piece.stop:
            return cut(call, piece.tensor, start - piece.start, stop - piece.start)
    if tensor.pieces or tensor.type.layout not in {Layout.DENSE, Layout.CSR}:
        raise LimitExceeded(
            f"rows {start} to {stop} of {tensor.type.layout} {tensor.shape} are not in one buffer"
        )
    made = DeviceTensor(_shorter(tensor.type, start, stop), {})
    call.scratch.append(made)
    for name, part in tensor.parts.items():
        made.parts[name] = _cut_part(call, tensor, name, part, (start, stop))
    return made


def paste(call: Call, source: DeviceTensor, target: DeviceTensor, row: int, col: int = 0) -> None:
    """Copy a dense tensor into another one, at a row of the first axis and a column of the last."""
    if not source.size:
        return
    width = source.type.dtype.itemsize
    across = target.size // target.shape[0] * width  # [bytes] from row to row
    wide = source.size // source.shape[0] * width
    device = call.gpu.device
    with trouble(f"copying rows on {device.name}"):
        device.trail.last = cl.enqueue_copy(
            device.queue,
            target.buffer(),
            source.buffer(),
            src_origin=(0, 0, 0),
            dst_origin=(col * width, row, 0),
            region=(wide, source.shape[0], 1),
            src_pitches=(wide, 0),
            dst_pitches=(across, 0),
        )


def discard(call: Call, after: int) -> None:
    """Free the scratch of a call that came after the first `after` tensors."""
    spent = call.scratch[after:]
    del call.scratch[after:]
    call.gpu.residency.stamp(spent)
    for tensor in spent:
        call.gpu.residency.release(tensor)


def _cut_part(call: Call, tensor: DeviceTensor, name: str, part: Part, range_: Range) -> Part:
    """One part of a range of rows; the stored elements of a sparse tensor are shared."""
    start, stop = range_
    sparse = tensor.type.layout is Layout.CSR
    if sparse and name in {"indices", "values"}:  # the pointers count from their start
        part.block.holders += 1
        return part
    if sparse and name == "indptr":
        stop += 1
    shape = (stop - start, *part.shape[1:])
    row = prod(part.shape[1:]) * part.dtype.itemsize
    block = call.gpu.residency.room((stop - start) * row)
    if row:
        _copy(call.gpu.device, part, block.buffer, start * row, (stop - start) * row)
    return Part(block, part.dtype, shape)


def _copy(device: Device, part: Part, target: cl.Buffer, offset: int, count: int) -> None:
    with trouble(f"copying rows on {device.name}"):
        device.trail.last = cl.enqueue_copy(
            device.queue, target, part.block.buffer, src_offset=offset, byte_count=count
        )


def _shorter(kind: TensorType, start: int, stop: int) -> TensorType:
    """The type of a range of rows; stored elements are taken as evenly spread."""
    rows, *others = known(kind)
    share = (stop - start) / max(rows, 1)
    nonzeros = None if kind.nonzeros is None else int(kind.nonzeros * share)
    stored = None if kind.stored_bytes is None else int(kind.stored_bytes * share)
    return TensorType(kind.layout, kind.dtype, (stop - start, *others), nonzeros, stored)
