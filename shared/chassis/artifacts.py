"""The artifacts that a worker keeps on its backend: every variant of every loaded model, and a
few more that jobs name by digest. What went away from the models is released."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import count

import anyio
import structlog

from shared.bus.port import Bus, Entry
from shared.chassis import records
from shared.chassis.device import DeviceThread
from shared.contracts import subjects
from shared.contracts.errors import (
    BlobMissing,
    DeviceFailed,
    InvalidMessage,
    InvalidNetwork,
    ModelNotReady,
    UnknownModel,
)
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import BlobRef, InferBody
from shared.contracts.v1.models import ModelManifest
from shared.network import artifact, execute
from shared.network.execute import Loaded
from shared.tensors import container

GUESTS = 4  # artifacts outside the models that stay loaded
RETRY_EVERY = 5.0  # [s] for artifacts that could not be loaded
log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Held:
    """A loaded artifact; `guest` when only jobs asked for it."""

    loaded: Loaded
    guest: bool
    used: int  # a higher number was used later
    users: int = 0


@asynccontextmanager
async def keep(bus: Bus, device: DeviceThread) -> AsyncIterator["Artifacts"]:
    """Follow the models while the block runs; release everything after it."""
    held = Artifacts(bus, device)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(held.watch)
            group.start_soon(held.follow)
            yield held
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await held.close()


class Artifacts:
    """What is loaded, by digest."""

    def __init__(self, bus: Bus, device: DeviceThread) -> None:
        self._bus = bus
        self._device = device
        self._held: dict[str, Held] = {}
        self._manifests: dict[str, ModelManifest] = {}
        self._changed = anyio.Event()
        self._loading = anyio.Lock()
        self._ticks = count()

    def digests(self) -> tuple[str, ...]:
        """Digests of everything loaded, for the worker's card."""
        return tuple(sorted(self._held))

    def find(self, sha256: str) -> Loaded | None:
        """A loaded artifact, without waiting."""
        held = self._held.get(sha256)
        if held is None:
            return None
        held.used = next(self._ticks)
        return held.loaded

    async def resolve(self, body: InferBody) -> tuple[BlobRef | str, ModelManifest | None]:
        """What an infer job wants to run: a reference (or a bare digest), and its model if any.

        Raises:
            UnknownModel: no such model or variant; the message names those there are.
            ModelNotReady: the model is unloaded.
            InvalidMessage: neither a model nor an artifact is named.
        """
        if body.artifact is not None:
            known = _references(self._manifests.values())
            return known.get(body.artifact, body.artifact), None
        if body.model is None:
            raise InvalidMessage("body: name a model or an artifact")
        manifest = await self._manifest(body.model, body.variant or "")
        variant = manifest.variant(body.variant or "")
        if variant is None:
            there = ", ".join(variant.name for variant in manifest.variants)
            raise UnknownModel(f"{body.model!r} has no variant {body.variant!r}, only {there}")
        if not manifest.loaded:
            raise ModelNotReady(f"model {body.model!r} is unloaded")
        return variant.artifact, manifest

    async def _manifest(self, model: str, variant: str) -> ModelManifest:
        """The model's manifest; read anew when the one at hand has not the variant, because a
        change may still be on its way here."""
        held = self._manifests.get(model)
        if held is None or held.variant(variant) is None:
            entry = await self._bus.get(Bucket.MODELS, model)
            if entry is None or entry.value is None:
                raise UnknownModel(f"no model {model!r}{_near(model, self._manifests)}")
            held = ModelManifest.decode(entry.value)
        return held

    @asynccontextmanager
    async def using(self, wanted: BlobRef | str) -> AsyncIterator[Loaded]:
        """An artifact, loaded if it is not, and not released inside the block.

        Raises:
            BlobMissing: it is not stored.
            InvalidNetwork: it is no sound network.
            DeviceFailed: the device has no room for it.
        """
        sha256 = wanted if isinstance(wanted, str) else wanted.sha256
        held = self._held.get(sha256) or await self._load(wanted, guest=True)
        held.users += 1
        held.used = next(self._ticks)
        try:
            yield held.loaded
        finally:
            held.users -= 1
            if not held.users:
                self._changed.set()  # perhaps it waits to be released

    async def watch(self) -> None:
        """Note every change of the models."""
        async with self._bus.watch(Bucket.MODELS) as entries:
            async for entry in entries:
                self._note(entry)

    async def follow(self) -> None:
        """Load and release until what is held is what the models say; again on every change."""
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            if not await self._settle():
                with anyio.move_on_after(RETRY_EVERY):
                    await self._changed.wait()
                self._changed.set()

    async def close(self) -> None:
        """Release everything."""
        for sha256 in list(self._held):
            await self._release(sha256)

    def _note(self, entry: Entry) -> None:
        self._manifests.pop(entry.key, None)
        if entry.value is not None:
            try:
                self._manifests[entry.key] = ModelManifest.decode(entry.value)
            except InvalidMessage as error:
                log.error("manifest.refused", model=entry.key, reason=str(error))
        self._changed.set()

    async def _settle(self) -> bool:
        """One pass; False when something could not be loaded."""
        wanted = _references(m for m in self._manifests.values() if m.loaded)
        for sha256 in _surplus(self._held, wanted):
            await self._release(sha256)
        complete = True
        for sha256, ref in wanted.items():
            if sha256 in self._held:
                self._held[sha256].guest = False
                continue
            try:
                await self._load(ref, guest=False)
            except Exception as error:  # the worker must outlive every artifact, and says so
                log.error("artifact.refused", artifact=sha256, reason=records.describe(error))
                complete = False
        return complete

    async def _load(self, wanted: BlobRef | str, *, guest: bool) -> Held:
        sha256 = wanted if isinstance(wanted, str) else wanted.sha256
        async with self._loading:
            if held := self._held.get(sha256):
                return held
            data = await self.read(wanted)
            try:
                loaded = await self._device.call(
                    lambda: execute.load(artifact.unpack(data), self._device.backend)
                )
            except ValueError as error:
                raise InvalidNetwork(f"artifact {sha256}: {error}") from None
            except MemoryError as error:
                raise DeviceFailed(f"no memory for artifact {sha256}: {error}") from None
            held = Held(loaded, guest, next(self._ticks))
            self._held[sha256] = held
        log.info("artifact.loaded", artifact=sha256, bytes=len(data), guest=guest)
        return held

    async def read(self, wanted: BlobRef | str) -> bytes:
        """The bytes of an artifact; with a bare digest, part by part until there is none.

        Raises:
            BlobMissing: it is not stored, or not whole.
        """
        if isinstance(wanted, BlobRef):
            return await self._bus.get_blob(wanted)
        parts: list[bytes] = []
        while part := await self._bus.last(Stream.BLOBS, subjects.blob(wanted, len(parts))):
            parts.append(part.data)
        data = b"".join(parts)
        if not parts or container.digest(data) != wanted:
            raise BlobMissing(f"artifact {wanted} is not stored, or not whole")
        return data

    async def _release(self, sha256: str) -> None:
        held = self._held.pop(sha256)
        await self._device.call(held.loaded.close)
        log.info("artifact.released", artifact=sha256)


def _references(manifests: Iterable[ModelManifest]) -> dict[str, BlobRef]:
    """Every artifact of some models, by digest."""
    return {
        variant.artifact.sha256: variant.artifact
        for manifest in manifests
        for variant in manifest.variants
    }


def _surplus(held: dict[str, Held], wanted: dict[str, BlobRef]) -> list[str]:
    """What to release: left the models, or the guests used longest ago; never what is in use."""
    idle = {sha256: kept for sha256, kept in held.items() if not kept.users}
    left = [sha256 for sha256, kept in idle.items() if sha256 not in wanted and not kept.guest]
    guests = sorted(
        (sha256 for sha256, kept in held.items() if kept.guest and sha256 not in wanted),
        key=lambda sha256: held[sha256].used,
    )
    excess = guests[: max(0, len(guests) - GUESTS)]
    return left + [sha256 for sha256 in excess if sha256 in idle]


def _near(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""
