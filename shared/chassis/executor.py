"""Jobs of the kinds `infer`, `operator` and `train` on any backend, in the backend's own thread."""

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import Future
from dataclasses import asdict

import anyio

from shared.chassis import measured
from shared.chassis.artifacts import Artifacts
from shared.chassis.device import DeviceThread
from shared.chassis.energy import Meter
from shared.chassis.handler import Outcome, Progress
from shared.chassis.measured import Measured
from shared.chassis.sensors import NoSensor
from shared.chassis.training import Trainer
from shared.chassis.watch import Watch
from shared.contracts.errors import InvalidMessage, InvalidTensor, UnsupportedOperator
from shared.contracts.v1.jobs import InferBody, JobSubmitted, OperatorBody, Timing, TrainBody
from shared.network import activity, observing, shapes, streamed
from shared.network.execute import Loaded
from shared.network.training import backward
from shared.operators import catalog
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Backend, OperatorSpec
from shared.tensors.layouts import Tensor

CHECK_PATIENCE = 5.0  # [s] that a result may wait for its check
Tell = Callable[[float], Awaitable[None]]


class BackendHandler:
    """The handler of a worker that owns a backend."""

    kinds: tuple[str, ...] = ("infer", "operator", "train")

    def __init__(
        self,
        device: DeviceThread,
        artifacts: Artifacts,
        trainer: Trainer,
        watch: Watch | None = None,
        meter: Meter | None = None,
    ) -> None:
        """`watch`: over a device that may fail; None: it never does. `meter`: of its energy."""
        self._device = device
        self._artifacts = artifacts
        self._trainer = trainer
        self._watch = watch or Watch()
        self._meter = meter or Meter()

    async def handle(
        self, job: JobSubmitted, tensors: Mapping[str, Tensor], progress: Progress
    ) -> Outcome:
        """Run the network or operator that the body names; a batch is processed whole.

        Raises:
            InvalidTensor: the tensors do not fit what is to be run.
            DeviceLost: the device went, or is not trusted: another worker is to do it.
            UnknownModel, ModelNotReady, BlobMissing, InvalidNetwork, UnsupportedOperator.
        """

        def tell(done: float) -> Awaitable[None]:
            return progress(done, "measuring")

        self._watch.fitness.require()
        try:
            match job.body:
                case InferBody() as body:
                    return await self._infer(body, tensors, tell)
                case OperatorBody() as body:
                    return await self._operator(body, tensors, tell)
                case TrainBody() as body:
                    return await self._trainer.run(body, tensors, progress)
                case other:
                    raise InvalidMessage(f"kind {other.kind!r} is not done here")
        except ValueError as error:  # the mathematics side names the offending shape or value
            raise InvalidTensor(str(error)) from None

    async def _infer(self, body: InferBody, tensors: Mapping[str, Tensor], tell: Tell) -> Outcome:
        wanted, manifest = await self._artifacts.resolve(body)
        async with self._artifacts.using(wanted) as loaded:
            if body.observe:
                return await self._observe(loaded, tensors)
            if body.activity:
                return await self._activity(loaded, tensors, body.repeat, tell)
            strict = manifest is not None and manifest.nan_policy == "reject"
            run = measured.network(loaded, tensors, body.repeat, trace=body.trace, strict=strict)
            done = await self._device.drive(run, tell)
            report = {"rows": measured.rows(loaded, tensors)}
        sha256 = wanted if isinstance(wanted, str) else wanted.sha256
        await self._trust(self._watch.offer(sha256, loaded, tensors, done.outputs))
        return _outcome(done, report)

    async def _observe(self, loaded: Loaded, tensors: Mapping[str, Tensor]) -> Outcome:
        """What the products of a network read on the given rows; see network.observing."""
        network = loaded.network
        if tensors.keys() != network.inputs.keys() or len(tensors) != 1:
            raise InvalidTensor(f"inputs are {sorted(network.inputs)}, not {sorted(tensors)}")
        ((_, rows),) = tensors.items()
        run = backward.on(self._device.backend)
        seen = await self._device.call(lambda: observing.observe(network, rows.values, run))
        report = {"rows": rows.shape[0], "steps": list(seen)}
        return Outcome(observing.to_tensors(seen), report=report)

    async def _activity(
        self, loaded: Loaded, tensors: Mapping[str, Tensor], repeat: int, tell: Tell
    ) -> Outcome:
        """How much every layer of neurons does for the given rows, see network.activity, and what
        the device took for `repeat` runs."""
        streamed.require_inputs(loaded.network, tensors)
        run = backward.on(self._device.backend)
        found = await self._device.call(lambda: activity.of(loaded.network, tensors, run))
        energy = await self._energy(measured.network(loaded, tensors, repeat), tell)
        layers = {name: asdict(one) for name, one in found.items()}
        return Outcome(report={"layers": layers, "energy": energy})

    async def _energy(
        self, run: Generator[float, None, Measured], tell: Tell
    ) -> Mapping[str, object]:
        """What sensors told while it ran, or why they told nothing; then it may not have run."""
        try:
            async with self._meter.running() as taken:
                done = await self._device.drive(run, tell)
        except NoSensor as error:
            return {"unknown": str(error)}
        return {**asdict(taken), "runs": done.runs}

    async def _trust(self, verdict: "Future[str] | None") -> None:
        """Wait a while for the check of a result, if there is one; raises DeviceLost when it, or
        another check meanwhile, found the device wrong."""
        if verdict is not None:
            with anyio.move_on_after(CHECK_PATIENCE):
                await asyncio.wrap_future(verdict)
        self._watch.fitness.require_trust()

    async def _operator(
        self, body: OperatorBody, tensors: Mapping[str, Tensor], tell: Tell
    ) -> Outcome:
        spec = _spec(body.operator)
        types = {name: tensor.type for name, tensor in tensors.items()}
        made, attributes = shapes.call_types(spec, types, body.attributes)
        for port, kind in made.items():
            shapes.require_room(f"output {port!r}", kind)
        backend = self._device.backend
        chosen: Backend = backend if backend.supports(spec, types) else ReferenceBackend()
        run = measured.operator(chosen, spec, tensors, attributes, body.repeat)
        done = await self._device.drive(run, tell)
        self._watch.fitness.require_trust()
        return _outcome(done, {"backend": chosen.name})


def _spec(name: str) -> OperatorSpec:
    try:
        return catalog.spec(name)
    except ValueError as error:  # it names the nearest operators
        raise UnsupportedOperator(str(error)) from None


def _outcome(done: Measured, report: Mapping[str, object]) -> Outcome:
    timing = Timing(
        upload=sum(done.upload),
        run=sum(done.samples),
        download=sum(done.download),
        samples=done.samples,
        upload_samples=done.upload,
        download_samples=done.download,
        steps=done.steps,
    )
    return Outcome(done.outputs, timing, report)
