"""NIR files (Neuromorphic Intermediate Representation): bytes to nodes by name, nothing believed.

Runs inside the sandbox alone, as every reader of files from outside.
Source: Pedersen et al. 2024, "Neuromorphic intermediate representation: A unified instruction set
for interoperable brain-inspired computing"; the file is HDF5.
"""

import io
from collections.abc import Mapping
from typing import Any

import h5py
import nir
import numpy as np

from services.compressor.importers import nir_nested
from services.compressor.importers.nir_nested import Described, Wired
from shared.contracts.errors import InvalidNetwork, TooLarge, UnsupportedOperator

MAX_BYTES = 2**30  # of all arrays as the file declares them; compressed ones may be small in it
WORDS = {"padding": ("same", "valid")}  # what is said in words; all else is numbers
UNSAID = ("input_type", "output_type", "metadata", "type")


def decode(data: bytes) -> Wired[nir.NIRNode]:
    """The nodes of a file in the order in which values pass, graphs in it taken apart.

    Raises:
        InvalidNetwork: no NIR file, cut off, with too many nodes, fields that are missing or no
            finite numbers, or a graph that cannot be put in order; names the node.
        TooLarge: its arrays take more than `MAX_BYTES`.
        UnsupportedOperator: a node of a type that NIR has not.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as held:  # type: ignore[attr-defined,no-untyped-call]
            described = _read(held["node"])
    except TooLarge:
        raise
    except OSError as error:  # of HDF5, in its own words
        found = f"{len(data)} bytes are no HDF5 file, or a part is cut off"
        raise InvalidNetwork(f"no NIR file: {found} ({error})") from None
    except Exception as error:  # the parsers raise whatever their own code stumbles over
        raise InvalidNetwork(f"no NIR file: {type(error).__name__}: {error}") from None
    wired = nir_nested.flattened(described)
    nodes = {name: _node(name, node) for name, node in wired.nodes.items()}
    return Wired(nodes, wired.before, wired.output, wired.walk)


def _read(group: Any) -> Described:
    declared = 0

    def count(_: str, item: Any) -> None:
        nonlocal declared
        if not isinstance(item, h5py.Group):  # type: ignore[attr-defined]
            declared += item.nbytes
            if declared > MAX_BYTES:
                raise TooLarge(
                    f"the file declares arrays of {declared} bytes up to {item.name!r}, over the "
                    f"limit of {MAX_BYTES}"
                )

    group.visititems(count)
    return dict(nir.serialization.hdf2dict(group))


def _node(name: str, described: Described) -> nir.NIRNode:
    """One node from its fields.

    Raises:
        InvalidNetwork, UnsupportedOperator: see `decode`.
    """
    kind = nir_nested.kind_of(described)
    if kind not in nir_nested.KINDS:
        raise UnsupportedOperator(f"{name!r} ({kind}): no type of node that NIR has")
    _require_numbers(name, kind, described)
    try:
        return nir.dict2NIRNode(dict(described))
    except Exception as error:  # as above
        said = f"{type(error).__name__}: {error}"
        raise InvalidNetwork(f"{name!r} ({kind}) cannot be read: {said[:200]}") from None


def _require_numbers(name: str, kind: str, fields: Mapping[str, Any]) -> None:
    for field, value in fields.items():
        said = isinstance(value, str) and value in WORDS.get(field, ())
        if said or value is None or field in UNSAID:
            continue
        held = np.asarray(value)
        if held.dtype.kind not in "biuf":
            raise InvalidNetwork(f"{field} of {name!r} ({kind}) is {str(value)[:40]!r}, no number")
        wild = held[~np.isfinite(held)]
        if wild.size:
            raise InvalidNetwork(f"{field} of {name!r} ({kind}) is not finite: {wild[0]}")
