"""Jobs of the kind `compress` with the action `export`: a variant as a file for others."""

from collections.abc import Callable, Mapping
from functools import partial

import anyio.to_thread
import numpy as np

from services.compressor import manifests
from services.compressor.exporters import nir_writer, onnx_qdq
from shared.bus.port import Bus
from shared.chassis.handler import Outcome, Progress
from shared.contracts.errors import UnknownModel
from shared.contracts.v1.jobs import CompressBody
from shared.contracts.v1.models import ModelManifest, Variant
from shared.network import artifact
from shared.tensors import container, layouts

FILE = "file"  # the tensor of the result: (bytes,) u8
ONNX = "onnx"
DT = 1e-3  # length of a step [s] where none is said


async def run(bus: Bus, body: CompressBody, progress: Progress) -> Outcome:
    """Write the file; model and variants stay as they are.

    Raises:
        UnknownModel: no such model or variant.
        UnsupportedOperator, TooLarge: what ONNX or NIR cannot hold.
    """
    manifest = await manifests.read(bus, body.model)
    variant = _wanted(manifest, body.variant)
    stored = await bus.get_blob(variant.artifact)
    format_ = body.format or ONNX
    await progress(0.3, f"writing {variant.name} as {format_}")
    written = partial(_FORMATS[format_], stored, dt=body.dt or DT)
    data = await anyio.to_thread.run_sync(written)
    report = {
        "model": manifest.model,
        "variant": variant.name,
        "format": format_,
        "artifact": variant.artifact.sha256,
        "bytes": len(data),
        "sha256": container.digest(data),
        "manifest": _manifest(manifest, variant),
    }
    return Outcome({FILE: layouts.dense(np.frombuffer(data, np.uint8))}, report=report)


def _wanted(manifest: ModelManifest, name: str | None) -> Variant:
    found = manifest.variant(name or "")
    if found is None:
        there = ", ".join(variant.name for variant in manifest.variants)
        raise UnknownModel(f"{manifest.model!r} has no variant {name!r}, only {there}")
    return found


def _manifest(manifest: ModelManifest, variant: Variant) -> dict[str, object]:
    """The manifest of the model as if it had that variant alone."""
    alone = manifest.model_copy(update={"variants": (variant,), "default": variant.name})
    shown: dict[str, object] = alone.model_dump(mode="json", exclude_none=True)
    return shown


def _onnx(stored: bytes, *, dt: float) -> bytes:
    return onnx_qdq.encode(artifact.unpack(stored))


def _nir(stored: bytes, *, dt: float) -> bytes:
    return nir_writer.encode(artifact.unpack(stored), dt=dt)


def _as_stored(stored: bytes, *, dt: float) -> bytes:
    """An artifact is a safetensors file already, and keeps the digest that its manifest names."""
    return stored


_FORMATS: Mapping[str, Callable[..., bytes]] = {
    ONNX: _onnx,
    "nir": _nir,
    "safetensors": _as_stored,
}
