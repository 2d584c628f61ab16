"""Tensors of any layout in files: safetensors as on the wire, or .npy and .npz."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ops.cli import arrays
from shared.contracts.errors import InvalidFile
from shared.tensors import check, container, dtypes, layouts
from shared.tensors.dtypes import Array, Dtype
from shared.tensors.layouts import SPARSE, Layout, Tensor

ABOUT = ("shape", "layout")


def load(path: Path) -> dict[str, Tensor]:
    """Read tensors by name.

    Raises:
        InvalidFile: the file is damaged or of another kind.
        TooLarge: its arrays are over 2 GiB.
    """
    if path.suffix != ".safetensors":
        return _assembled(path, arrays.load(path, words=".layout"))
    try:
        return container.unpack(path.read_bytes())
    except ValueError as error:
        raise InvalidFile(f"{path}: {error}") from None


def _assembled(path: Path, held: Mapping[str, Array]) -> dict[str, Tensor]:
    """Join `w.shape` and the parts of its layout, `w.values` and so on, to the tensor `w`.

    `w.layout` holds the word of a sparse layout. Without it, `w.indptr` makes `w` a CSR tensor.
    """
    words = dict.fromkeys(_named(held, "indptr"), Layout.CSR)
    words |= {name: _layout(path, name, held) for name in _named(held, "layout")}
    joined = {name: _joined(path, name, layout, held) for name, layout in words.items()}
    used = {f"{name}.{part}" for name, tensor in joined.items() for part in (*tensor.parts, *ABOUT)}
    plain = {name: layouts.dense(array) for name, array in held.items() if name not in used}
    return plain | joined


def _named(held: Mapping[str, Array], part: str) -> list[str]:
    return sorted(name.removesuffix(f".{part}") for name in held if name.endswith(f".{part}"))


def _layout(path: Path, name: str, held: Mapping[str, Array]) -> Layout:
    words = held[f"{name}.layout"]
    word = str(words.item() if words.size == 1 else words)
    if word not in SPARSE:
        known = ", ".join(sorted(SPARSE))
        raise InvalidFile(f"{path}: {name}.layout is {word!r:.80}; known: {known}")
    return Layout(word)


def _joined(path: Path, name: str, layout: Layout, held: Mapping[str, Array]) -> Tensor:
    """One sparse tensor; how its values are stored is seen from their array."""
    try:
        dtype = dtypes.of(held[f"{name}.values"]) if f"{name}.values" in held else Dtype.F32
        parts = layouts.parts_of(layout, dtype)
        wanted = {f"{name}.{part}" for part in (*parts, "shape")}
        if absent := sorted(wanted - held.keys()):
            raise ValueError(f"a {layout} tensor also needs {', '.join(absent)}")
        shape = _shape(held[f"{name}.shape"])
        found = {part: _ours(held[f"{name}.{part}"]) for part in parts}
        return check.tensor(Tensor(layout, dtype, shape, found))
    except ValueError as error:
        raise InvalidFile(f"{path}: {error}") from None


def _shape(sizes: Array) -> tuple[int, ...]:
    if sizes.ndim != 1 or sizes.dtype.kind not in "iu":
        raise ValueError(f"the shape must be whole numbers, got {sizes.tolist()}")
    return tuple(sizes.tolist())


def _ours(part: Array) -> Array:
    """numpy and scipy count in 64 bits; what fits becomes i32, the rest is left for the check."""
    if part.dtype != np.int64 or (part.size and (part.min() < 0 or part.max() >= 2**31)):
        return part
    return part.astype("<i4")
