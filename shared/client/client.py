"""The Python client of a gateway: inference, models, durable jobs, blobs, status.

async with Client("127.0.0.1:8001") as client:
    outputs = await client.infer("digits", {"x": images})
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from shared.client import arrays
from shared.client.channel import Channel
from shared.client.jobs import Jobs, raise_for
from shared.client.sessions import Session
from shared.contracts import wire
from shared.contracts.v1.jobs import ImportBody
from shared.contracts.v1.models import ModelManifest, PortSignature, Route
from shared.contracts.v1.sessions import Learning
from shared.contracts.v1.status import SuiteStatus
from shared.contracts.wire import inference
from shared.contracts.wire import jobs as messages
from shared.tensors.dtypes import Array

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What the inference protocol says about a model."""

    name: str
    versions: tuple[str, ...]  # variants, the default one first
    platform: str
    inputs: tuple[PortSignature, ...]
    outputs: tuple[PortSignature, ...]
    properties: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One variant of the repository and whether it can be called."""

    model: str
    version: str
    state: str  # READY, LOADING or UNAVAILABLE
    reason: str


class Client(Jobs):
    """One connection. Every call raises the SuiteError that the gateway named, with its fix."""

    def __init__(
        self, address: str = "127.0.0.1:8001", *, tenant: str = "default", timeout: float = 30.0
    ) -> None:
        """Connects at the first call. `timeout` [s] bounds every call that is given no other."""
        super().__init__(Channel(address, tenant=tenant), tenant=tenant, timeout=timeout)
        self.address = address

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection."""
        await self._channel.close()

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Array],
        *,
        version: str = "",
        outputs: Iterable[str] = (),
        timeout: float | None = None,
        priority: int = 0,
    ) -> dict[str, Array]:
        """Run a model on one batch.

        Args:
            inputs: by name; (batch, ...) of the datatypes that `metadata` tells.
            version: a variant; empty is the default one.
            outputs: names wanted; none means all.
            timeout: [s] after which the gateway gives up too.
            priority: 1 is served first, 9 last, 0 is the middle.

        Returns:
            Read-only arrays by output name.
        """
        seconds = self._timeout if timeout is None else timeout
        request = arrays.request(model, version, inputs, outputs)
        request.parameters["timeout"].int64_param = max(1, int(seconds * MICROSECONDS))
        if priority:
            request.parameters["priority"].int64_param = priority
        response = await self._channel.unary(
            wire.INFERENCE,
            "ModelInfer",
            request,
            inference.ModelInferResponse,
            timeout=seconds,
        )
        return arrays.outputs(response)

    def session(
        self,
        model: str,
        name: str | None = None,
        *,
        version: str = "",
        ttl: float | None = None,
        learning: Learning | None = None,
        timeout: float | None = None,
    ) -> Session:
        """A stream through a spiking network whose neurons stay as they are between two calls.

        Args:
            name: of the session, known to this tenant alone; None: a new one.
            version: a variant; empty is the default one.
            ttl: [s] without a call after which it ends; None: the gateway's choice.
            learning: a layer that learns from what the session is shown; None: none does.
            timeout: [s] of every call; None: the client's.
        """
        return Session(
            self._channel,
            model,
            name or uuid.uuid4().hex,
            version=version,
            ttl=ttl,
            learning=learning,
            timeout=self._timeout if timeout is None else timeout,
        )

    async def live(self) -> bool:
        """Whether the gateway's process answers."""
        request = inference.ServerLiveRequest()
        response = await self._inference("ServerLive", request, inference.ServerLiveResponse)
        return response.live

    async def ready(self, model: str = "", version: str = "") -> bool:
        """Whether the gateway, or a variant of a model, can be called now."""
        if not model:
            whole = inference.ServerReadyRequest()
            answer = await self._inference("ServerReady", whole, inference.ServerReadyResponse)
            return answer.ready
        request = inference.ModelReadyRequest(name=model, version=version)
        response = await self._inference("ModelReady", request, inference.ModelReadyResponse)
        return response.ready

    async def metadata(self, model: str, version: str = "") -> ModelMetadata:
        """Names, datatypes and shapes of a model."""
        request = inference.ModelMetadataRequest(name=model, version=version)
        found = await self._inference("ModelMetadata", request, inference.ModelMetadataResponse)
        return ModelMetadata(
            name=found.name,
            versions=tuple(found.versions),
            platform=found.platform,
            inputs=tuple(_signature(tensor) for tensor in found.inputs),
            outputs=tuple(_signature(tensor) for tensor in found.outputs),
            properties=dict(found.properties),
        )

    async def index(self, *, ready: bool = False) -> list[IndexEntry]:
        """Every variant; `ready` True: only those that can be called now."""
        request = inference.RepositoryIndexRequest(ready=ready)
        found = await self._inference("RepositoryIndex", request, inference.RepositoryIndexResponse)
        return [IndexEntry(m.name, m.version, m.state, m.reason) for m in found.models]

    async def load(self, model: str) -> None:
        """Have workers load a model; returns when its default variant can be called."""
        request = inference.RepositoryModelLoadRequest(model_name=model)
        kind = inference.RepositoryModelLoadResponse
        await self._inference("RepositoryModelLoad", request, kind)

    async def unload(self, model: str) -> None:
        """Take a model out of service; it stays stored."""
        request = inference.RepositoryModelUnloadRequest(model_name=model)
        kind = inference.RepositoryModelUnloadResponse
        await self._inference("RepositoryModelUnload", request, kind)

    async def add_model(  # noqa: PLR0913 - one per field of the job
        self,
        name: str,
        content: bytes,
        *,
        format: Literal["onnx", "safetensors", "nir"] = "onnx",
        dt: float = 1e-3,
        steps: int = 100,
        rule: Literal["exact", "euler"] | None = None,
        nan_policy: Literal["reject", "pass"] = "reject",
        timeout: float = 120.0,
    ) -> ModelManifest:
        """Import a network and wait until it can be called.

        Args:
            content: of an ONNX or NIR file, or with the format safetensors of an exported network.
            dt: length of a step of a spiking network [s].
            steps: of a call of it.
            rule: how its equations are solved over a step, exact if None; euler: as most do.

        Raises:
            SuiteError: what the import failed with.
            DeadlineExceeded: it was not done within `timeout` seconds.
            ModelNotReady: it is stored, but no worker has loaded it.
        """
        source = await self.upload(content)
        body = ImportBody(
            model=name,
            source=source,
            format=format,
            dt=dt,
            steps=steps,
            rule=rule,
            nan_policy=nan_policy,
        )
        receipt = await self.submit(body)
        record, _tensors = await self.result(receipt.job, timeout=timeout)
        raise_for(record)
        await self.load(name)
        manifest, _route = await self.describe_model(name)
        return manifest

    async def describe_model(self, name: str) -> tuple[ModelManifest, Route | None]:
        """A model's manifest, and its route once the scheduler has one."""
        request = messages.DescribeModelRequest(name=name)
        found = await self._jobs("DescribeModel", request, messages.DescribeModelResponse)
        route = Route.decode(found.route_json.encode()) if found.route_json else None
        return ModelManifest.decode(found.manifest_json.encode()), route

    async def list_models(self) -> list[ModelManifest]:
        """Every model, by name."""
        request = messages.ListModelsRequest()
        found = await self._jobs("ListModels", request, messages.ListModelsResponse)
        manifests = [ModelManifest.decode(text.encode()) for text in found.manifest_json]
        return sorted(manifests, key=lambda manifest: manifest.model)

    async def remove_model(self, name: str) -> None:
        """Forget a model and its artifacts."""
        request = messages.RemoveModelRequest(name=name)
        await self._jobs("RemoveModel", request, messages.RemoveModelResponse)

    async def status(self) -> SuiteStatus:
        """Workers, routes, devices, models and queues as the gateway sees them."""
        found = await self._jobs("Status", messages.StatusRequest(), messages.StatusResponse)
        return SuiteStatus.decode(found.status_json.encode())


def _signature(tensor: "inference.ModelMetadataResponse.TensorMetadata") -> PortSignature:
    dtype = arrays.DTYPES[tensor.datatype]
    return PortSignature(name=tensor.name, dtype=dtype, shape=tuple(tensor.shape))
