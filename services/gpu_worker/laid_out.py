"""The arrays of a tensor as the kernels want them, and back: one form for each layout that differs.

A layout without an entry in `FORMS` goes to the device as it is: every part contiguous and in the
machine's byte order.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from services.gpu_worker import nibbles, sparse_forms, streams
from shared.tensors.dtypes import Array
from shared.tensors.layouts import Layout, Tensor, TensorType

Arrays = Mapping[str, Array]
CODE_PITCH = 16  # rows of codes start at multiples of this many bytes, so that 16 load at once


@dataclass(frozen=True, slots=True)
class Form:
    """How the parts of one layout lie on the device.

    `prepare` gets the host parts of a tensor (contiguous) and its type; it returns those of the
    device, under any names. `restore` gets these and returns the exact host parts.
    """

    prepare: Callable[[Arrays, TensorType], dict[str, Array]]
    restore: Callable[[Arrays, TensorType], dict[str, Array]]


def arrays(tensor: Tensor) -> dict[str, Array]:
    """What to upload, by part: contiguous, of this machine's byte order.

    A part that needs no change is the caller's own array, not a copy.
    """
    parts = {name: _plain(part) for name, part in tensor.parts.items()}
    form = FORMS.get(tensor.layout)
    return form.prepare(parts, tensor.type) if form else parts


def host_parts(parts: Arrays, kind: TensorType) -> dict[str, Array]:
    """What was downloaded, as the parts of a tensor in host memory."""
    form = FORMS.get(kind.layout)
    return form.restore(parts, kind) if form else dict(parts)


def pitch(width: int) -> int:
    """Bytes from one row of `width` bytes of codes to the next."""
    return -(-width // CODE_PITCH) * CODE_PITCH


def _plain(array: Array) -> Array:
    """Row-major and in the machine's byte order; copied only when it is not."""
    made: Array = np.asarray(array, array.dtype.newbyteorder("="), order="C")
    return made


def _widen_codes(parts: Arrays, kind: TensorType) -> dict[str, Array]:
    """Rows of codes padded with zeros to whole loads."""
    codes = parts["codes"]
    width = codes.shape[1]
    return {**parts, "codes": np.pad(codes, ((0, 0), (0, pitch(width) - width)))}


def _trim_codes(parts: Arrays, kind: TensorType) -> dict[str, Array]:
    """Rows of codes without their padding."""
    codes = parts["codes"][:, : kind.shape[1]]
    return {**parts, "codes": np.ascontiguousarray(codes)}


FORMS: dict[Layout, Form] = {
    Layout.INT8_CHANNEL: Form(_widen_codes, _trim_codes),
    Layout.INT4_GROUP: Form(nibbles.pair_rows, nibbles.split_rows),
    Layout.INT_GROUP: Form(streams.in_steps, streams.as_stream),
    Layout.CSC: Form(sparse_forms.by_rows, sparse_forms.by_columns),
    Layout.NM: Form(sparse_forms.in_runs, sparse_forms.without_runs),
}
