"""Tensors to bytes and back: one safetensors file, in which equal input gives equal bytes.

A dense tensor is the safetensors tensor of its name. Any other layout is one safetensors tensor
per part, `<name>.<part>`, and the metadata key `layouts` holds
``{"<name>": {"layout": "csr", "dtype": "f32", "shape": [rows, cols]}}`` (dtype f32 if absent).

The writer is our own because an artifact is named by its digest, and the metadata that the
library writes has no fixed order. See header for the limits of the reader.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from shared.tensors import check, dtypes, header
from shared.tensors.dtypes import Array, Dtype
from shared.tensors.header import Buffer, Entry
from shared.tensors.layouts import Layout, Tensor, parts_of

_LAYOUTS = "layouts"
_Stored = dict[str, tuple[Dtype, Array]]


class _Part(NamedTuple):
    """One array as it is stored."""

    name: str
    dtype: Dtype
    array: Array


def digest(data: Buffer) -> str:
    """The SHA-256 of some bytes in hexadecimal: the name of an artifact or a blob."""
    return hashlib.sha256(data).hexdigest()


def pack(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Write tensors and text as one safetensors file.

    Args:
        tensors: by name; every layout.
        metadata: further text by key; the key `layouts` is ours.

    Raises:
        ValueError: a tensor breaks its layout, names collide, or a limit of the reader is exceeded.
    """
    text = dict(metadata or {})
    if _LAYOUTS in text:
        raise ValueError(f"the metadata key {_LAYOUTS!r} is written by the container")
    layouts = {name: _layout(tensors[name]) for name in sorted(tensors) if _split(tensors[name])}
    if layouts:
        text[_LAYOUTS] = _json(layouts)
    parts = _parts(tensors)
    head = _header(parts, text)
    length = len(head).to_bytes(header.PREFIX, "little")
    return b"".join([length, head, *(part.array.data for part in parts)])


def metadata(data: Buffer) -> dict[str, str]:
    """Read the text of a container; the tensors are neither read nor checked.

    Raises:
        ValueError: the header is not one of safetensors, or exceeds a limit.
    """
    return header.parse(data).text


def unpack(data: Buffer) -> dict[str, Tensor]:
    """Read every tensor as a read-only view of `data`; nothing is copied.

    Raises:
        ValueError: anything wrong with the header, the offsets, or the parts of a tensor.
    """
    head = header.parse(data)
    body = memoryview(data)[head.data_start :]
    stored = {e.name: (e.dtype, _view(body, e)) for e in head.entries(len(body))}
    layouts = header.json_object(head.text.get(_LAYOUTS, "{}"), _LAYOUTS)
    tensors = {name: _assembled(name, value, stored) for name, value in layouts.items()}
    for name, (dtype, array) in stored.items():
        if name in tensors:
            raise ValueError(f"tensor {name!r} is stored twice: dense and {tensors[name].layout}")
        tensors[name] = _checked(name, Tensor(Layout.DENSE, dtype, array.shape, {"values": array}))
    return tensors


def _split(tensor: Tensor) -> bool:
    return tensor.layout is not Layout.DENSE


def _layout(tensor: Tensor) -> dict[str, object]:
    return {"layout": tensor.layout, "dtype": tensor.dtype, "shape": list(tensor.shape)}


def _parts(tensors: Mapping[str, Tensor]) -> list[_Part]:
    """The arrays to store, widest elements first so that each of them is aligned."""
    parts: dict[str, _Part] = {}
    for name, tensor in tensors.items():
        _checked(name, tensor)
        for part, array in tensor.parts.items():
            full = f"{name}.{part}" if _split(tensor) else name
            if full in parts or full == header.METADATA:
                raise ValueError(f"the stored name {full!r} is taken; rename tensor {name!r}")
            dtype = dtypes.of(array) if _split(tensor) else tensor.dtype
            parts[full] = _Part(full, dtype, np.asarray(array, order="C"))
    return sorted(parts.values(), key=lambda part: (-part.dtype.itemsize, part.name))


def _header(parts: list[_Part], text: Mapping[str, str]) -> bytes:
    content: dict[str, object] = {header.METADATA: dict(sorted(text.items()))} if text else {}
    offset = 0
    for name, dtype, array in parts:
        header.require_name(name)
        content[name] = {
            "dtype": header.FORMAT_NAMES[dtype],
            "shape": list(header.require_shape(name, list(array.shape))),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    encoded = _json(content).encode()
    encoded += b" " * (-len(encoded) % header.PREFIX)
    header.require_limits(len(encoded), len(parts))
    return encoded


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _view(body: memoryview, entry: Entry) -> Array:
    array = np.frombuffer(body[entry.start : entry.end], dtype=entry.dtype.numpy)
    array.flags.writeable = False
    return array.reshape(entry.shape)


def _assembled(name: str, value: object, stored: _Stored) -> Tensor:
    """One tensor of a layout other than dense; its parts leave `stored`."""
    header.require_name(name)
    if not isinstance(value, dict) or not {"layout", "shape"} <= value.keys():
        raise ValueError(f"{_LAYOUTS} entry {name!r} needs a layout and a shape")
    layout = _layout_named(name, value["layout"])
    dtype = _dtype_named(name, value.get("dtype", Dtype.F32))
    for part in parts_of(layout, dtype):
        if f"{name}.{part}" not in stored:
            raise ValueError(f"tensor {name!r} of layout {layout} lacks {name}.{part}")
    parts = {part: stored.pop(f"{name}.{part}")[1] for part in parts_of(layout, dtype)}
    return _checked(name, Tensor(layout, dtype, header.require_shape(name, value["shape"]), parts))


def _layout_named(name: str, word: object) -> Layout:
    known = [layout for layout in Layout if layout is not Layout.DENSE]
    if word not in known:
        raise ValueError(f"tensor {name!r} has layout {word!r:.80}; known: {', '.join(known)}")
    return Layout(str(word))


def _dtype_named(name: str, word: object) -> Dtype:
    if word not in list(Dtype):
        raise ValueError(f"tensor {name!r} has dtype {word!r:.80}; known: {', '.join(Dtype)}")
    return Dtype(str(word))


def _checked(name: str, tensor: Tensor) -> Tensor:
    try:
        return check.tensor(tensor)
    except ValueError as error:
        raise ValueError(f"tensor {name!r}: {error}") from None
