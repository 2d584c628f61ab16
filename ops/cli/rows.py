"""Rows of data files as tensors of a job."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.tensors.dtypes import Array
    from shared.tensors.layouts import Tensor


def load(data: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> "dict[str, Tensor]":
    """Arrays of a file by name: numbers with a point as f32, whole `labels` as i64.

    Raises:
        InvalidFile: it cannot be read, or a needed array is missing.
    """
    from ops.cli import arrays
    from shared.contracts.errors import InvalidFile
    from shared.tensors import layouts

    held = arrays.load(data)
    if missing := [name for name in needed if name not in held]:
        raise InvalidFile(f"{data} has {', '.join(held)}; missing: {', '.join(missing)}")
    names = [name for name in (*needed, *optional) if name in held]
    return {name: layouts.dense(_typed(name, held[name])) for name in names}


def _typed(name: str, array: "Array") -> "Array":
    if array.dtype.kind == "f":
        return array.astype("<f4")
    return array.astype("<i8") if name.endswith("labels") else array
