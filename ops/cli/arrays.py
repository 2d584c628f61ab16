"""Arrays in files: .npy and .npz, never anything that can execute code."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from shared.contracts.errors import InvalidFile, TooLarge
from shared.tensors import layouts
from shared.tensors.dtypes import Array
from shared.tensors.layouts import Tensor

NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"
LIMIT = 2 * 2**30  # [bytes] of all arrays in a file, unpacked
ONLY = "x"  # what the one array of a .npy file is called where a name is needed


def load(path: Path, *, words: str | None = None) -> dict[str, Array]:
    """Read the arrays of a file by name; the array of a .npy file is named `x`.

    Arrays hold numbers; those whose name ends in `words` may hold text.

    Raises:
        InvalidFile: it is neither format, is damaged, or holds Python objects.
        TooLarge: its arrays are over 2 GiB.
    """
    with path.open("rb") as file:
        magic = file.read(len(NPY))
    if not (magic == NPY or magic.startswith(ZIP)):
        what = (
            "a Python pickle, which could run code" if magic[:1] == b"\x80" else "of another kind"
        )
        raise InvalidFile(f"{path} is {what}; arrays come as .npy or .npz")
    if magic.startswith(ZIP):
        _check_size(path)
    try:
        loaded = np.load(path, allow_pickle=False)
        named = {ONLY: loaded} if isinstance(loaded, np.ndarray) else dict(loaded.items())
    except (ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        raise InvalidFile(f"{path}: {error}") from None
    text = {name for name in named if words and name.endswith(words)}
    return {
        name: array if name in text else _native(path, name, array) for name, array in named.items()
    }


def tensors(path: Path) -> dict[str, Tensor]:
    """The same as dense tensors."""
    return {name: layouts.dense(array) for name, array in load(path).items()}


def save(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays as .npz, or the only one as .npy when the name says so.

    Raises:
        InvalidFile: the name ends in .npy, but there is more than one array.
    """
    if path.suffix == ".npy":
        if len(arrays) != 1:
            raise InvalidFile(f"{path} can hold one array, not {', '.join(arrays)}; use .npz")
        np.save(path, next(iter(arrays.values())), allow_pickle=False)
        return
    with path.open("wb") as file:
        np.savez(file, **dict(arrays), allow_pickle=False)


def _check_size(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile as error:
        raise InvalidFile(f"{path}: {error}") from None
    if total > LIMIT:
        raise TooLarge(f"{path} unpacks to {total} bytes; the limit is {LIMIT}")


def _native(path: Path, name: str, array: Array) -> Array:
    """Little-endian, row-major, a type that a tensor can hold."""
    if not isinstance(array, np.ndarray):
        raise InvalidFile(f"{path}: {name!r} is not an array")
    held = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    held = held.reshape(array.shape)
    try:
        layouts.dense(held)
    except ValueError as error:
        raise InvalidFile(f"{path}: array {name!r}: {error}") from None
    return held
