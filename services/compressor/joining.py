"""A variant joins its model: its artifact is kept, and the newest manifest names it."""

from collections.abc import Callable

from services.compressor import manifests
from shared.bus.port import Bus
from shared.contracts.v1.models import Latency, ModelManifest, Variant


async def join(bus: Bus, model: str, made: Variant, before: Latency | None = None) -> ModelManifest:
    """Keep the artifact of a variant, and put the variant where one of its name was.

    Args:
        before: how the first variant did beside it; None: it was not timed.

    Raises:
        BlobMissing: the artifact has expired.
        UnknownModel, BusUnavailable: see `manifests.change`.
    """
    await bus.put_blob(await bus.get_blob(made.artifact), keep=True)
    return await manifests.change(bus, model, _joined(made, before))


def _joined(made: Variant, before: Latency | None) -> Callable[[ModelManifest], ModelManifest]:
    """What a variant does to a manifest, whatever else happened to that meanwhile."""

    def update(manifest: ModelManifest) -> ModelManifest:
        first, *others = manifest.variants
        kept = [first if before is None else _timed(first, before)]
        kept += [held for held in others if held.name != made.name]
        default = made.name if _better(manifest, made) else manifest.default
        return manifest.model_copy(update={"variants": (*kept, made), "default": default})

    return update


def _better(manifest: ModelManifest, made: Variant) -> bool:
    """Whether a variant should serve by default: asked to be fast, and faster than what does."""
    if made.verdict is None or made.verdict.objective == "size":
        return False
    (mine,) = made.latencies
    current = manifest.variant("")
    if current is None or current.name in (made.name, manifest.variants[0].name):
        return True
    rivals = [held.p50 for held in current.latencies if _same_call(held, mine)]
    return not rivals or mine.p50 < min(rivals)


def _timed(variant: Variant, latency: Latency) -> Variant:
    others = tuple(held for held in variant.latencies if not _same_call(held, latency))
    return variant.model_copy(update={"latencies": (*others, latency)})


def _same_call(one: Latency, other: Latency) -> bool:
    return (one.worker_class, one.batch) == (other.worker_class, other.batch)
