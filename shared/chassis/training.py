"""The computing of a `train` job on any backend: in slices, so that others may use the device, and
with checkpoints, so that another worker goes on bit by bit when this one dies.
"""

from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import asdict
from time import perf_counter

import anyio.to_thread

from shared.bus.port import Bus
from shared.chassis import competing, learned
from shared.chassis.artifacts import Artifacts
from shared.chassis.checkpoints import LEG, SLICE, Checkpoints
from shared.chassis.competing import Desk
from shared.chassis.device import DeviceThread
from shared.chassis.handler import Outcome, Progress
from shared.contracts.errors import (
    InvalidMessage,
    InvalidTensor,
    TrainingDiverged,
)
from shared.contracts.v1.jobs import BlobRef, TrainBody
from shared.network import activity, artifact
from shared.network.graph import Network
from shared.network.training import backward, loop
from shared.network.training.loop import Rows
from shared.network.training.plan import (
    ActivityPlan,
    Adam,
    RoundingPlan,
    Sgd,
    SlopePlan,
    SparsePlan,
    TrainPlan,
)
from shared.network.training.state import TrainState
from shared.operators.spec import Backend
from shared.tensors.layouts import Tensor, dense

SHOWN = 256  # rows learned from, in which a trained network's spikes are counted
EDITION = "2"  # of the arithmetic; another one takes up no checkpoint


class Trainer:
    """Trains artifacts on a worker's backend."""

    def __init__(self, bus: Bus, device: DeviceThread, artifacts: Artifacts) -> None:
        self._bus = bus
        self._device = device
        self._artifacts = artifacts
        self._checkpoints = Checkpoints(bus)

    async def run(
        self, body: TrainBody, tensors: Mapping[str, Tensor], progress: Progress
    ) -> Outcome:
        """Train until the last epoch; the report names the artifact, which expires unless kept.

        Raises:
            InvalidMessage: the body names no artifact, or its plan makes no sense, or none for the
                network.
            InvalidTensor: the rows do not fit the network.
            TrainingDiverged: the loss is not finite any more.
            BlobMissing, InvalidNetwork.
            Of the method stdp see `competing.run`.
        """
        if body.method == "stdp":
            desk = Desk(self._bus, self._device, self._artifacts, self._checkpoints)
            return await competing.run(desk, body, tensors, progress)
        if body.artifact is None:
            raise InvalidMessage("body: a pinned train job names an artifact")
        data = await self._artifacts.read(body.artifact)
        settings = plan(body)
        rows = await anyio.to_thread.run_sync(learned.rows_of, tensors)
        try:
            total = settings.steps(len(rows.x))
        except ValueError as error:
            raise InvalidTensor(str(error)) from None
        key = await anyio.to_thread.run_sync(learned.key, EDITION, body, tensors)
        now = await self._resumed(key, settings, len(rows.x))
        begun = now.step if now else 0
        if now is None:
            now = await self._device.call(lambda: _started(data, settings, body))
        await anyio.to_thread.run_sync(_require_rows, now.network, settings, rows)
        while now.step < total:
            leg = _leg(self._device.backend, now, settings, rows)
            now = await self._device.drive(leg, _teller(progress, total))
            await self._keep(key, now)
        made = await anyio.to_thread.run_sync(loop.result, now, settings)
        spikes = await self._device.call(lambda: _activity(self._device.backend, made, rows))
        packed = await anyio.to_thread.run_sync(artifact.pack, made)
        stored = await self._bus.put_blob(packed)
        return Outcome(report=_report(stored, now, made, begun) | spikes)

    async def _resumed(self, key: str, settings: TrainPlan, rows: int) -> TrainState | None:
        """The last checkpoint; None when there is none that can be read."""
        return await self._checkpoints.last(key, lambda found: loop.checked(found, settings, rows))

    async def _keep(self, key: str, now: TrainState) -> None:
        """Store a checkpoint in place of the last one."""
        await self._checkpoints.keep(key, now)


def plan(body: TrainBody) -> TrainPlan:
    """The plan that a body asks for.

    Raises:
        InvalidMessage: its numbers do not go together.
    """
    optimiser: Adam | Sgd = Adam(decay=body.decay)
    if body.optimiser == "sgd":
        optimiser = Sgd(body.momentum, body.decay)
    try:
        sparse = SparsePlan(**body.sparse.model_dump()) if body.sparse else None
        rounding = RoundingPlan(**body.rounding.model_dump()) if body.rounding else None
        slope = SlopePlan(**body.slope.model_dump()) if body.slope else None
        held_back = ActivityPlan(**body.activity.model_dump()) if body.activity else None
        return TrainPlan(
            loss=body.loss,
            optimiser=optimiser,
            rate=body.rate,
            schedule=body.schedule,
            epochs=body.epochs,
            batch=body.batch,
            seed=body.seed,
            sparse=sparse,
            rounding=rounding,
            slope=slope,
            activity=held_back,
        )
    except ValueError as error:
        raise InvalidMessage(f"body: {error}") from None


def _started(data: bytes, settings: TrainPlan, body: TrainBody) -> TrainState:
    network = artifact.unpack(data)
    try:
        return loop.start(network, settings, fresh=body.fresh)
    except ValueError as error:
        raise InvalidMessage(f"body: {error}") from None


def _require_rows(network: Network, settings: TrainPlan, rows: Rows) -> None:
    try:
        loop.require_rows(network, settings, rows)
    except ValueError as error:
        raise InvalidTensor(str(error)) from None


def _leg(
    backend: Backend, now: TrainState, settings: TrainPlan, rows: Rows
) -> Generator[tuple[int, float], None, TrainState]:
    """Steps for `LEG` seconds or until the end; yields step and loss after every slice."""
    run, started = backward.on(backend), perf_counter()
    until = started + SLICE
    while not loop.finished(now, settings, len(rows.x)):
        try:
            now = loop.advance(now, settings, rows, run)
        except loop.Diverged as error:
            raise TrainingDiverged(str(error)) from None
        if (clock := perf_counter()) > until:
            if clock > started + LEG:
                break
            yield now.step, now.loss
            until = perf_counter() + SLICE
    return now


def _teller(progress: Progress, total: int) -> Callable[[tuple[int, float]], Awaitable[None]]:
    async def tell(told: tuple[int, float]) -> None:
        step, loss = told
        await progress(step / total, f"step {step} of {total}, loss {loss:.4g}")

    return tell


def _activity(backend: Backend, made: Network, rows: Rows) -> dict[str, object]:
    """What layers of neurons do for some of the rows, see network.activity; nothing without any."""
    if not any(step.operator in activity.LAYERS for step in made.steps):
        return {}
    (port,) = made.inputs
    x = rows.x[:SHOWN]
    found = activity.of(made, {port: dense(x)}, backward.on(backend))
    layers = {name: asdict(one) for name, one in found.items()}
    return {"activity": {"rows": len(x), "layers": layers}}


def _report(stored: BlobRef, now: TrainState, made: Network, begun: int) -> dict[str, object]:
    return {
        "artifact": stored.sha256,
        "size": stored.size,
        "weight_bytes": made.weight_bytes,
        "steps": now.step,
        "resumed_at": begun,
        "loss": now.loss,
    }
