"""Ellesmere's own calls about what is stored: blobs, manifests, and the state of the suite."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack

import structlog
from pydantic import ValidationError

from services.gateway import signature
from services.gateway.admission import Admission
from services.gateway.front import Call
from services.gateway.limits import Limits
from services.gateway.tables import Tables
from shared.bus.port import Bus
from shared.contracts import wire
from shared.contracts.errors import (
    BlobMissing,
    BusUnavailable,
    InvalidMessage,
    TooLarge,
    UnknownModel,
)
from shared.contracts.subjects import Bucket, Stream
from shared.contracts.v1.jobs import BlobRef
from shared.contracts.v1.models import ModelManifest
from shared.contracts.v1.status import SuiteStatus, WorkerStatus
from shared.contracts.wire import jobs

log = structlog.get_logger()
CHUNK = 2**20  # [bytes] of one download message
SCHEDULER = "sched"  # the consumer of EL_JOBS


class Blobs:
    """Bytes in and out of the blob stream."""

    def __init__(self, bus: Bus, admission: Admission, limits: Limits) -> None:
        self._bus, self._admission, self._limits = bus, admission, limits

    async def upload(self, _call: Call, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Collect chunks, store them, answer their name."""
        content, keep = bytearray(), False
        with ExitStack() as held:
            async for data in requests:
                request = wire.parse(jobs.UploadRequest, data)
                keep = keep or request.keep
                if len(content) + len(request.chunk) > self._limits.blob:
                    raise TooLarge(f"an upload of more than {self._limits.blob} bytes")
                held.enter_context(self._admission.memory(len(request.chunk)))
                content += request.chunk
            ref = await self._bus.put_blob(bytes(content), keep=keep)
        blob = jobs.Blob(sha256=ref.sha256, size=ref.size)
        yield jobs.UploadResponse(blob=blob).SerializeToString()

    async def download(self, _call: Call, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Send a blob in chunks.

        Raises:
            BlobMissing: it is not stored.
        """
        request = wire.parse(jobs.DownloadRequest, await anext(requests))
        ref = _ref(request.blob)
        if ref.size > self._limits.blob:
            raise BlobMissing(f"no blob of {ref.size} bytes; the largest has {self._limits.blob}")
        with self._admission.memory(ref.size):
            content = memoryview(await self._bus.get_blob(ref))
            for start in range(0, len(content), CHUNK):
                chunk = bytes(content[start : start + CHUNK])
                yield jobs.DownloadResponse(chunk=chunk).SerializeToString()


class Catalog:
    """Manifests and the state of the suite."""

    def __init__(self, bus: Bus, tables: Tables, admission: Admission) -> None:
        self._bus, self._tables, self._admission = bus, tables, admission

    async def describe(self, _call: Call, data: bytes) -> bytes:
        """Manifest and route of a model."""
        name = signature.model_name(wire.parse(jobs.DescribeModelRequest, data).name)
        manifest = await self._tables.model(name)
        route = self._tables.table.routes.get(name)
        return jobs.DescribeModelResponse(
            manifest_json=manifest.encode().decode(),
            route_json=route.encode().decode() if route else "",
        ).SerializeToString()

    async def list(self, _call: Call, data: bytes) -> bytes:
        """Every manifest, by name; what is none is reported and harms no other."""
        wire.parse(jobs.ListModelsRequest, data)
        texts = []
        for entry in sorted(await self._bus.entries(Bucket.MODELS), key=lambda entry: entry.key):
            if entry.value is None:
                continue
            try:
                texts.append(ModelManifest.decode(entry.value).encode().decode())
            except InvalidMessage as error:
                log.error("manifest.refused", model=entry.key, reason=str(error))
        return jobs.ListModelsResponse(manifest_json=texts).SerializeToString()

    async def remove(self, _call: Call, data: bytes) -> bytes:
        """Forget a model; delete the artifacts that nobody else uses."""
        name = signature.model_name(wire.parse(jobs.RemoveModelRequest, data).name)
        entry = await self._bus.get(Bucket.MODELS, name)
        if entry is None or entry.value is None:
            near = signature.near(name, self._tables.table.models)
            raise UnknownModel(f"no model {name!r}{near}")
        await self._bus.remove(Bucket.MODELS, name)
        self._tables.table.drop_model(name)
        left = await self._artifacts()
        for variant in ModelManifest.decode(entry.value).variants:
            if variant.artifact.sha256 not in left:
                await self._bus.delete_blob(variant.artifact)
        return jobs.RemoveModelResponse().SerializeToString()

    async def status(self, _call: Call, data: bytes) -> bytes:
        """Everything a person wants to see at a glance."""
        wire.parse(jobs.StatusRequest, data)
        table, now = self._tables.table, asyncio.get_running_loop().time()
        workers = [
            WorkerStatus(card=card, beat=table.beats.get(name), age=now - table.heard[name])
            for name, card in sorted(table.cards.items())
        ]
        status = SuiteStatus(
            gateway=self._bus.name,
            ready=self._tables.ready,
            in_flight=self._admission.calls - 1,  # this one aside
            in_flight_bytes=self._admission.held,
            workers=tuple(workers),
            routes=tuple(table.routes.values()),
            devices=tuple(table.devices.values()),
            models=tuple(table.models.values()),
            queues=await self._queues(),
        )
        return jobs.StatusResponse(status_json=status.encode().decode()).SerializeToString()

    async def _queues(self) -> dict[str, int]:
        classes = sorted({card.worker_class for card in self._tables.table.cards.values()})
        asked = {"jobs": (Stream.JOBS, SCHEDULER)}
        asked |= {name: (Stream.RUN, name) for name in classes}
        queues = {}
        for name, (stream, consumer) in asked.items():
            try:
                queues[name] = await self._bus.pending(stream, consumer)
            except BusUnavailable:  # a status without this queue says more than none
                continue
        return queues

    async def _artifacts(self) -> set[str]:
        """Digests of all artifacts that some model has."""
        entries = await self._bus.entries(Bucket.MODELS)
        manifests = [ModelManifest.decode(entry.value) for entry in entries if entry.value]
        return {variant.artifact.sha256 for m in manifests for variant in m.variants}


def _ref(blob: jobs.Blob) -> BlobRef:
    """A blob's name as a contract.

    Raises:
        InvalidMessage: it is no name of a blob.
    """
    try:
        return BlobRef(sha256=blob.sha256, size=blob.size)
    except ValidationError as error:
        what = error.errors(include_url=False, include_input=False)[0]
        raise InvalidMessage(f"blob.{what['loc'][0]}: {what['msg']}") from None
