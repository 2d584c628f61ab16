"""Manifests of models in their bucket: read, create, and change without losing another's change."""

from collections.abc import Callable
from difflib import get_close_matches

from shared.bus.port import Bus
from shared.contracts.errors import BusUnavailable, ModelExists, UnknownModel
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import BlobRef
from shared.contracts.v1.models import ModelManifest

SWAPS = 20  # tries to change a manifest that others change too


async def read(bus: Bus, model: str) -> ModelManifest:
    """The manifest of a model.

    Raises:
        UnknownModel: no model has this name; the message names near ones.
    """
    return (await _read(bus, model))[0]


async def create(bus: Bus, manifest: ModelManifest) -> ModelManifest:
    """Store a manifest under a free name; the same artifact under the same name is no conflict.

    Raises:
        ModelExists: the name belongs to another network, or to this one under another policy.
    """
    if await bus.swap(Bucket.MODELS, manifest.model, manifest.encode(), revision=0) is not None:
        return manifest
    stored = await read(bus, manifest.model)
    if conflict := _conflict(stored, manifest):
        raise ModelExists(f"model {manifest.model!r} exists {conflict}")
    return stored


async def change(
    bus: Bus, model: str, update: Callable[[ModelManifest], ModelManifest]
) -> ModelManifest:
    """Apply `update` to the newest manifest of a model and store the result.

    Raises:
        UnknownModel: the model was removed.
        BusUnavailable: others changed it each time; trying again may help.
    """
    for _ in range(SWAPS):
        stored, revision = await _read(bus, model)
        changed = update(stored)
        done = await bus.swap(Bucket.MODELS, model, changed.encode(), revision=revision)
        if done is not None:
            return changed
    raise BusUnavailable(f"manifest of {model!r} was changed by others {SWAPS} times in a row")


async def discard(bus: Bus, artifact: BlobRef) -> None:
    """Delete an artifact unless a model uses it: equal networks share one blob."""
    for entry in await bus.entries(Bucket.MODELS):
        if entry.value is None:
            continue
        variants = ModelManifest.decode(entry.value).variants
        if any(variant.artifact.sha256 == artifact.sha256 for variant in variants):
            return
    await bus.delete_blob(artifact)


async def _read(bus: Bus, model: str) -> tuple[ModelManifest, int]:
    entry = await bus.get(Bucket.MODELS, model)
    if entry is None or entry.value is None:
        known = [stored.key for stored in await bus.entries(Bucket.MODELS)]
        close = get_close_matches(model, known, n=3)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise UnknownModel(f"no model {model!r}{hint}")
    return ModelManifest.decode(entry.value), entry.revision


def _conflict(stored: ModelManifest, wanted: ModelManifest) -> str:
    if stored.variants[0].artifact.sha256 != wanted.variants[0].artifact.sha256:
        return "with another network; remove it first, or choose another name"
    if stored.nan_policy != wanted.nan_policy:
        return f"with nan_policy {stored.nan_policy}, not {wanted.nan_policy}"
    return ""
