"""Small networks whose answers are known by hand, and a backend that notes what is done to it."""

import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import numpy as np

from shared.bus.memory import MemoryBroker
from shared.bus.port import Bus
from shared.chassis import artifacts, interactive
from shared.chassis.artifacts import Artifacts
from shared.chassis.device import DeviceThread
from shared.chassis.energy import Meter
from shared.chassis.executor import BackendHandler
from shared.chassis.handler import Outcome
from shared.chassis.interactive import Limits
from shared.chassis.training import Trainer
from shared.contracts import packed, subjects
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import Body, JobSubmitted
from shared.contracts.v1.models import ModelManifest, PortSignature, Variant
from shared.contracts.v1.workers import WorkerCard
from shared.network import artifact
from shared.network.graph import Network, Step
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Attributes, OperatorSpec
from shared.tensors import layouts
from shared.tensors.dtypes import Array, Dtype
from shared.tensors.layouts import Layout, Tensor, TensorType
from tests.services.waiting import until
from tests.services.worker_house import silent

CARD = WorkerCard(worker="cpu-1", worker_class="cpu", service="cpu-worker", pid=1)
COLUMNS = 3
POISON = 666.0


class NotingBackend(ReferenceBackend):
    """The reference, which also counts what it holds and says which threads called it."""

    def __init__(self, *, thread_bound: bool = False) -> None:
        super().__init__()
        self.thread_bound = thread_bound
        self.threads: set[str] = set()
        self.runs: list[int] = []  # rows of the first input of each run
        self.held = 0
        self.running = threading.Event()  # set by every run, before the gate
        self.gate = threading.Event()
        self.gate.set()

    def upload(self, tensor: Tensor) -> Tensor:
        """Keep and count."""
        self.held += 1
        return tensor

    def release(self, resident: Tensor) -> None:
        """Count."""
        self.held -= 1

    def run(
        self, spec: OperatorSpec, inputs: Mapping[str, Tensor], attributes: Attributes
    ) -> dict[str, Tensor]:
        """Compute when the gate is open; a poisoned row breaks the whole run."""
        self.running.set()
        self.gate.wait(10)
        self.threads.add(threading.current_thread().name)
        first = inputs.get("x") or next(iter(inputs.values()))
        self.runs.append(first.shape[0])
        if (first.values == POISON).any():
            raise RuntimeError("the device choked")
        made = super().run(spec, inputs, attributes)
        self.held += len(made)
        return made


def scaling(factor: float = 2.0) -> Network:
    """y = factor x, through (3, 3) weights: x (batch, 3) f32 -> y (batch, 3) f32."""
    weight = layouts.dense(np.eye(COLUMNS, dtype=np.float32) * np.float32(factor))
    step = Step("scale", "gemm_f32", {"x": "x", "weight": "w"}, {"y": "y"})
    inputs = {"x": TensorType(Layout.DENSE, Dtype.F32, (None, COLUMNS))}
    return Network(inputs, ("y",), (step,), {"w": weight})


def widening(columns: int) -> Network:
    """y = x times ones: x (batch, 3) f32 -> y (batch, columns) f32."""
    weight = layouts.dense(np.ones((columns, COLUMNS), np.float32))
    step = Step("widen", "gemm_f32", {"x": "x", "weight": "w"}, {"y": "y"})
    inputs = {"x": TensorType(Layout.DENSE, Dtype.F32, (None, COLUMNS))}
    return Network(inputs, ("y",), (step,), {"w": weight})


def mixing() -> Network:
    """y = xᵀ: rows of a batch would end in one another's columns."""
    step = Step("turn", "transpose", {"x": "x"}, {"y": "y"}, {"perm": (1, 0)})
    inputs = {"x": TensorType(Layout.DENSE, Dtype.F32, (None, COLUMNS))}
    return Network(inputs, ("y",), (step,), {})


def rows(*first: float) -> np.ndarray:
    """(len(first), 3) f32; row i holds first[i], first[i] + 0.25, first[i] + 0.5."""
    return np.array(first, np.float32).reshape(-1, 1) + np.array([0, 0.25, 0.5], np.float32)


X = {"x": layouts.dense(rows(1.0, 2.0))}


@dataclass
class House:
    """A backend, its artifacts, and a bus to talk to them."""

    bus: Bus
    backend: NotingBackend
    device: DeviceThread
    artifacts: Artifacts
    sha256: dict[str, str] = field(default_factory=dict)
    meter: Meter | None = None  # of the energy that jobs take

    async def add(self, name: str, network: Network, *, loaded: bool = True) -> str:
        """Store a network as a model and wait until it is loaded; returns its digest."""
        self.sha256[name] = await store(self.bus, name, network, loaded=loaded)
        if loaded:
            await until(lambda: self.artifacts.find(self.sha256[name]))
        return self.sha256[name]

    def handler(self) -> BackendHandler:
        """What does durable jobs on this backend."""
        trainer = Trainer(self.bus, self.device, self.artifacts)
        return BackendHandler(self.device, self.artifacts, trainer, meter=self.meter)

    async def run(self, body: Body, tensors: Mapping[str, Tensor] = X) -> Outcome:
        """Handle one job of that body."""
        return await self.handler().handle(JobSubmitted(job="j1", body=body), tensors, silent)

    async def ask(self, *items: bytes, worker: str = "cpu-1") -> list[packed.Answer]:
        """Send calls in one message; returns their answers."""
        return [answer for answer, _ in await self.exchange(*items, worker=worker)]

    async def exchange(
        self, *items: bytes, worker: str = "cpu-1"
    ) -> list[tuple[packed.Answer, np.ndarray]]:
        """Send calls in one message; returns their answers with the first output of each."""
        subject = subjects.interactive_worker(worker)
        reply = await self.bus.request(subject, b"".join(items), timeout=5)
        return [(answer, first_output(answer, body)) for answer, body in packed.answers(reply)]


@asynccontextmanager
async def opened(
    broker: MemoryBroker, *, thread_bound: bool = False, limits: Limits | None = None
) -> AsyncIterator[House]:
    """Artifacts and the interactive lane of a worker for the length of the block."""
    backend = NotingBackend(thread_bound=thread_bound)
    device = DeviceThread(backend)
    bus = broker.connect("cpu-1")
    async with artifacts.keep(bus, device) as held, anyio.create_task_group() as group:
        group.start_soon(interactive.serve, bus, CARD, held, device, limits)
        await heard(broker)
        yield House(broker.connect("test"), backend, device, held)
        group.cancel_scope.cancel()
    device.close()


async def heard(broker: MemoryBroker) -> None:
    """Return once the lane has subscribed."""
    await until(lambda: broker.hears(subjects.interactive(CARD.worker_class)))


async def store(bus: Bus, name: str, network: Network, *, loaded: bool = True) -> str:
    """Store a network as a model with one variant; returns its digest."""
    ref = await bus.put_blob(artifact.pack(network), keep=True)
    port = PortSignature(name="x", dtype="f32", shape=(-1, COLUMNS))
    manifest = ModelManifest(
        model=name,
        inputs=(port,),
        outputs=(port.model_copy(update={"name": "y"}),),
        loaded=loaded,
        variants=(Variant(name="dense", artifact=ref, weight_bytes=network.weight_bytes),),
    )
    await bus.put(Bucket.MODELS, name, manifest.encode())
    return ref.sha256


def call(artifact_digest: str, x: Array, *, budget: float = 0.0, name: str = "x") -> bytes:
    """One call as the gateway packs it."""
    head = packed.Head(name, "f32", x.shape)
    return packed.item(packed.Call(artifact_digest, (head,), (), budget), [x.tobytes()])


def first_output(answer: packed.Answer, body: memoryview) -> np.ndarray:
    """The first output of an answer; an empty array when it is an error."""
    if answer.code:
        return np.empty(0, np.float32)
    return np.frombuffer(body, np.float32).reshape(answer.outputs[0].shape)
