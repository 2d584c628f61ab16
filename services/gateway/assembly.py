"""The parts of a gateway put together, and the table of its methods."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from services.gateway.admission import Admission
from services.gateway.app import App
from services.gateway.catalog import Blobs, Catalog
from services.gateway.front import Methods
from services.gateway.infer import Inference
from services.gateway.lanes import Lanes
from services.gateway.limits import Limits
from services.gateway.metrics import Metrics
from services.gateway.models_api import Models
from services.gateway.outcomes import Outcomes
from services.gateway.receipts import Receipts
from services.gateway.sequences import Sequences
from services.gateway.session_door import SessionDoor
from services.gateway.sessions import Sessions
from services.gateway.statistics import Statistics
from services.gateway.tables import Tables
from shared.bus.port import Bus
from shared.contracts import wire


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway without a transport."""

    app: App
    tables: Tables
    metrics: Metrics


@asynccontextmanager
async def assemble(bus: Bus, limits: Limits) -> AsyncIterator[Gateway]:
    """Build everything behind the front and keep its tables true while it is open."""
    metrics, admission, statistics = Metrics(), Admission(limits), Statistics()
    metrics.held.set_function(lambda: admission.held)
    async with anyio.create_task_group() as group:
        lanes = Lanes(bus, group, limits)
        tables = Tables(bus, lanes, limits)
        receipts = Receipts(bus, tables, metrics)
        sessions = Sessions(bus, tables)
        sequences = Sequences(sessions, statistics, limits)
        methods = (
            _of_models(Models(bus, tables, statistics, limits))
            | _of_inference(Inference(tables, lanes, sequences, statistics, metrics, limits))
            | _of_jobs(receipts, Outcomes(bus, receipts, limits))
            | _of_catalog(Blobs(bus, admission, limits), Catalog(bus, tables, admission))
        )
        await group.start(tables.run)
        await group.start(SessionDoor(bus, sessions, admission, limits).run)
        yield Gateway(App(methods, admission, metrics, limits), tables, metrics)
        group.cancel_scope.cancel()


def _of_models(models: Models) -> Methods:
    service = f"/{wire.INFERENCE}/"
    unary = {
        "ServerLive": models.server_live,
        "ServerReady": models.server_ready,
        "ServerMetadata": models.server_metadata,
        "ModelReady": models.model_ready,
        "ModelMetadata": models.model_metadata,
        "ModelConfig": models.model_config,
        "ModelStatistics": models.model_statistics,
        "RepositoryIndex": models.repository_index,
        "RepositoryModelLoad": models.repository_load,
        "RepositoryModelUnload": models.repository_unload,
    }
    return Methods({service + name: method for name, method in unary.items()}, {})


def _of_inference(inference: Inference) -> Methods:
    service = f"/{wire.INFERENCE}/"
    return Methods(
        {f"{service}ModelInfer": inference.model_infer},
        {f"{service}ModelStreamInfer": inference.model_stream_infer},
    )


def _of_jobs(receipts: Receipts, outcomes: Outcomes) -> Methods:
    service = f"/{wire.JOBS}/"
    return Methods(
        {
            f"{service}Submit": receipts.submit,
            f"{service}Result": outcomes.result,
            f"{service}Cancel": outcomes.cancel,
        },
        {f"{service}Watch": outcomes.watch},
    )


def _of_catalog(blobs: Blobs, catalog: Catalog) -> Methods:
    service = f"/{wire.JOBS}/"
    return Methods(
        {
            f"{service}DescribeModel": catalog.describe,
            f"{service}ListModels": catalog.list,
            f"{service}RemoveModel": catalog.remove,
            f"{service}Status": catalog.status,
        },
        {f"{service}Upload": blobs.upload, f"{service}Download": blobs.download},
    )
