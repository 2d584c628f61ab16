"""The inference protocol's calls about the server and its models."""

import asyncio
from math import prod

import anyio

from services.gateway import signature, translate
from services.gateway.front import Call
from services.gateway.limits import Limits
from services.gateway.statistics import Statistics
from services.gateway.tables import Tables
from shared.bus.port import Bus
from shared.contracts import wire
from shared.contracts.errors import BusUnavailable, InvalidMessage, ModelNotReady, UnknownModel
from shared.contracts.subjects import Bucket
from shared.contracts.v1.models import ModelManifest, PortSignature, Variant
from shared.contracts.wire import inference
from shared.tensors.dtypes import Dtype

VERSION = "0.1.0"
EXTENSIONS = (
    "model_repository",
    "model_configuration",
    "schedule_policy",
    "sequence",
    "statistics",
    "parameters",
)
SWAPS = 10  # tries to change a manifest that others change too


class Models:
    """Answers from the table; loading and unloading change the manifest."""

    def __init__(self, bus: Bus, tables: Tables, statistics: Statistics, limits: Limits) -> None:
        self._bus, self._tables = bus, tables
        self._statistics, self._limits = statistics, limits

    async def server_live(self, _call: Call, data: bytes) -> bytes:
        """Alive is whoever answers."""
        wire.parse(inference.ServerLiveRequest, data)
        return inference.ServerLiveResponse(live=True).SerializeToString()

    async def server_ready(self, _call: Call, data: bytes) -> bytes:
        """Ready is who knows the models and reaches the broker."""
        wire.parse(inference.ServerReadyRequest, data)
        return inference.ServerReadyResponse(ready=self._tables.ready).SerializeToString()

    async def server_metadata(self, _call: Call, data: bytes) -> bytes:
        """Name, version, extensions."""
        wire.parse(inference.ServerMetadataRequest, data)
        return inference.ServerMetadataResponse(
            name="ellesmere", version=VERSION, extensions=EXTENSIONS
        ).SerializeToString()

    async def model_ready(self, _call: Call, data: bytes) -> bytes:
        """Whether a call of this variant would find a worker now."""
        request = wire.parse(inference.ModelReadyRequest, data)
        manifest, variant = await self._find(request.name, request.version)
        ready = self._tables.table.ready(manifest, variant)
        return inference.ModelReadyResponse(ready=ready).SerializeToString()

    async def model_metadata(self, _call: Call, data: bytes) -> bytes:
        """The signature of a model; its versions are its variants, the default one first."""
        request = wire.parse(inference.ModelMetadataRequest, data)
        manifest, variant = await self._find(request.name, request.version)
        names = [v.name for v in manifest.variants]
        response = inference.ModelMetadataResponse(
            name=manifest.model,
            versions=sorted(names, key=lambda name: name != manifest.default),
            platform=manifest.platform,
            properties={
                "variant": variant.name,
                "method": variant.method,
                "artifact": variant.artifact.sha256,
                "weight_bytes": str(variant.weight_bytes),
                "nan_policy": manifest.nan_policy,
            },
        )
        for port in manifest.inputs:
            response.inputs.add(name=port.name, datatype=_datatype(port), shape=port.shape)
        for port in manifest.outputs:
            response.outputs.add(name=port.name, datatype=_datatype(port), shape=port.shape)
        return response.SerializeToString()

    async def model_config(self, _call: Call, data: bytes) -> bytes:
        """The part of a configuration that exists here."""
        request = wire.parse(inference.ModelConfigRequest, data)
        manifest, _variant = await self._find(request.name, request.version)
        batched = _batched(manifest)
        config = inference.ModelConfig(
            name=manifest.model,
            platform=manifest.platform,
            backend="ellesmere",
            max_batch_size=self._most_rows(manifest) if batched else 0,
        )
        for port in manifest.inputs:
            kind = getattr(inference, f"TYPE_{_datatype(port)}")
            config.input.add(name=port.name, data_type=kind, dims=port.shape[batched:])
        for port in manifest.outputs:
            kind = getattr(inference, f"TYPE_{_datatype(port)}")
            config.output.add(name=port.name, data_type=kind, dims=port.shape[batched:])
        return inference.ModelConfigResponse(config=config).SerializeToString()

    async def model_statistics(self, _call: Call, data: bytes) -> bytes:
        """What this gateway counted."""
        request = wire.parse(inference.ModelStatisticsRequest, data)
        names = [request.name] if request.name else sorted(self._tables.table.models)
        response = inference.ModelStatisticsResponse()
        for name in names:
            manifest, variant = await self._find(name, request.version if request.name else "")
            wanted = (variant,) if request.version else manifest.variants
            counted = [self._statistics.message(manifest.model, v.name) for v in wanted]
            response.model_stats.extend(counted)
        return response.SerializeToString()

    async def repository_index(self, _call: Call, data: bytes) -> bytes:
        """Every variant and whether it can be called."""
        request = wire.parse(inference.RepositoryIndexRequest, data)
        response = inference.RepositoryIndexResponse()
        for _name, manifest in sorted(self._tables.table.models.items()):
            for variant in manifest.variants:
                state, reason = self._state(manifest, variant)
                if state == "READY" or not request.ready:
                    response.models.add(
                        name=manifest.model, version=variant.name, state=state, reason=reason
                    )
        return response.SerializeToString()

    async def repository_load(self, call: Call, data: bytes) -> bytes:
        """Mark a model as loaded and wait until a worker has its default variant."""
        request = wire.parse(inference.RepositoryModelLoadRequest, data)
        if request.parameters:
            raise InvalidMessage(f"load parameter {min(request.parameters)[:80]!r} is not served")
        manifest = await self._mark(request.model_name, loaded=True)
        variant = signature.variant_of(manifest, "")
        now = asyncio.get_running_loop().time()
        with anyio.move_on_at(min(call.deadline, now + self._limits.load)):
            table = self._tables.table
            await self._tables.wait_for(lambda: table.ready(manifest, variant))
            return inference.RepositoryModelLoadResponse().SerializeToString()
        raise ModelNotReady(f"model {manifest.model!r} is marked loaded, but no worker has it yet")

    async def repository_unload(self, _call: Call, data: bytes) -> bytes:
        """Mark a model as unloaded; it takes no call from now on."""
        request = wire.parse(inference.RepositoryModelUnloadRequest, data)
        await self._mark(request.model_name, loaded=False)
        return inference.RepositoryModelUnloadResponse().SerializeToString()

    async def _find(self, name: str, version: str) -> tuple[ModelManifest, Variant]:
        manifest = await self._tables.model(signature.model_name(name))
        return manifest, signature.variant_of(manifest, version)

    async def _mark(self, name: str, *, loaded: bool) -> ModelManifest:
        """Set `loaded` by compare and swap."""
        key = signature.model_name(name)
        for _ in range(SWAPS):
            entry = await self._bus.get(Bucket.MODELS, key)
            if entry is None or entry.value is None:
                raise UnknownModel(
                    f"no model {key!r}{signature.near(key, self._tables.table.models)}"
                )
            stored = ModelManifest.decode(entry.value)
            if stored.loaded == loaded:
                return stored
            manifest = stored.model_copy(update={"loaded": loaded})
            done = await self._bus.swap(
                Bucket.MODELS, key, manifest.encode(), revision=entry.revision
            )
            if done is not None:
                self._tables.table.put_model(manifest)
                return manifest
        raise BusUnavailable(f"the manifest of {key!r} kept changing; nothing was done")

    def _state(self, manifest: ModelManifest, variant: Variant) -> tuple[str, str]:
        if not manifest.loaded:
            return "UNAVAILABLE", "unloaded"
        if self._tables.table.ready(manifest, variant):
            return "READY", ""
        return "LOADING", "no worker has it yet"

    def _most_rows(self, manifest: ModelManifest) -> int:
        """Rows that fit in one call."""
        row = sum(
            prod(port.shape[1:]) * Dtype(port.dtype).itemsize
            for port in manifest.inputs
            if port.shape[:1] == (signature.BATCH,)
        )
        return max(1, self._limits.inline // max(1, row))


def _datatype(port: PortSignature) -> str:
    return translate.NAMES[Dtype(port.dtype)]


def _batched(manifest: ModelManifest) -> bool:
    return all(port.shape[:1] == (signature.BATCH,) for port in manifest.inputs)
