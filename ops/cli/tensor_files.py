"""Tensors of any layout in files: safetensors as on the wire, or .npy and .npz."""

from collections.abc import Mapping
from pathlib import Path

from ops.cli import arrays
from shared.contracts.errors import InvalidFile
from shared.tensors import container, dtypes, layouts
from shared.tensors.dtypes import Array
from shared.tensors.layouts import Layout, Tensor

CSR_PARTS = ("indptr", "indices", "values")


def load(path: Path) -> dict[str, Tensor]:
    """Read tensors by name.

    Raises:
        InvalidFile: the file is damaged or of another kind.
        TooLarge: its arrays are over 2 GiB.
    """
    if path.suffix != ".safetensors":
        return _assembled(path, arrays.load(path))
    try:
        return container.unpack(path.read_bytes())
    except ValueError as error:
        raise InvalidFile(f"{path}: {error}") from None


def _assembled(path: Path, held: Mapping[str, Array]) -> dict[str, Tensor]:
    """Join `w.indptr`, `w.indices`, `w.values` and `w.shape` to the CSR tensor `w`."""
    sparse = sorted(name.removesuffix(".indptr") for name in held if name.endswith(".indptr"))
    parts = {f"{name}.{part}" for name in sparse for part in (*CSR_PARTS, "shape")}
    if absent := sorted(parts - held.keys()):
        raise InvalidFile(f"{path}: a CSR tensor also needs {', '.join(absent)}")
    joined = {name: _csr(name, held) for name in sparse}
    plain = {name: layouts.dense(array) for name, array in held.items() if name not in parts}
    return plain | joined


def _csr(name: str, held: Mapping[str, Array]) -> Tensor:
    """One CSR tensor; indices become i32. The receiver checks that they are in range."""
    indptr, indices, values = (held[f"{name}.{part}"] for part in CSR_PARTS)
    shape = tuple(int(size) for size in held[f"{name}.shape"])
    numbers = {"indptr": indptr.astype("<i4"), "indices": indices.astype("<i4"), "values": values}
    return Tensor(Layout.CSR, dtypes.of(values), shape, numbers)
