"""The interactive lane of a worker: packed messages in, one product per artifact, replies out.

A callback takes messages off the bus; a pump answers what has come in since its last turn. While
a run is going on in the device thread, calls gather for the next: the busier, the fuller.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import anyio
import structlog

from shared.bus.port import Bus, Inbound
from shared.chassis import batching, records
from shared.chassis.artifacts import Artifacts
from shared.chassis.batching import Item, Signature
from shared.chassis.device import DeviceThread
from shared.chassis.watch import Watch
from shared.contracts import packed, subjects
from shared.contracts.errors import (
    DeadlineExceeded,
    DeviceLost,
    InvalidMessage,
    ModelNotReady,
    QueueFull,
    SuiteError,
    TooLarge,
)
from shared.contracts.v1.workers import WorkerCard
from shared.network.execute import Loaded
from shared.operators.spec import Tensors

INLINE_SECONDS = 1e-3  # a shorter run may hold up the event loop; a longer one gets the thread
INTERRUPTED = 2.0  # times the usual: more says something about the machine, not about the run
SMOOTHING = 0.25  # weight of the newest run in the estimate of the next
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker lets wait before it refuses, and how much it joins."""

    rows: int = 16_384  # waiting
    size: int = 128 * 2**20  # waiting [bytes]
    join: int = 1024  # rows of one run


@dataclass(slots=True, eq=False)
class Message:
    """A packed message and its calls; answered when the last of them is."""

    reply: str
    size: int
    items: list[Item]

    @property
    def rows(self) -> int:
        """Rows of all calls together."""
        return sum(item.rows for item in self.items)

    def answers(self) -> bytes:
        """The reply: one answer for each call, in their order."""
        return b"".join(item.answer for item in self.items if item.answer is not None)


async def serve(
    bus: Bus,
    card: WorkerCard,
    artifacts: Artifacts,
    device: DeviceThread,
    limits: Limits | None = None,
    watch: Watch | None = None,
) -> None:
    """Answer calls to the worker and to its class until cancelled; then take no more, and answer
    what has arrived. While `watch` says that the device is not fit, calls are refused at once."""
    lane = Lane(bus, card.worker, artifacts, device, watch or Watch(), limits or Limits())
    own, of_class = subjects.interactive_worker, subjects.interactive
    async with anyio.create_task_group() as group:
        group.start_soon(lane.run)
        taken = [
            await bus.subscribe(own(card.worker), lane.take),
            await bus.subscribe(of_class(card.worker_class), lane.take, queue=card.worker_class),
        ]
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                for subscription in taken:
                    await subscription.stop()
            lane.drain()


class Lane:
    """The queue of one worker's interactive calls, and the pump that empties it."""

    def __init__(
        self,
        bus: Bus,
        worker: str,
        artifacts: Artifacts,
        device: DeviceThread,
        watch: Watch,
        limits: Limits,
    ) -> None:
        self._bus = bus
        self._watch = watch
        self._worker = worker
        self._artifacts = artifacts
        self._device = device
        self._limits = limits
        self._clock: Callable[[], float] = time.perf_counter
        self._waiting: list[Message] = []
        self._refused: list[Message] = []
        self._rows = 0  # waiting
        self._size = 0  # waiting [bytes]
        self._arrived = anyio.Event()
        self._overflowed = anyio.Event()
        self._draining = False
        self._signatures: dict[str, tuple[Loaded, Signature]] = {}
        self._seconds: dict[tuple[str, int], float] = {}  # by artifact and magnitude of rows

    def take(self, message: Inbound) -> None:
        """Accept one packed message, or refuse it; never blocks."""
        now = self._clock()
        try:
            items = [self._read(call, body, now) for call, body in packed.calls(message.data)]
        except InvalidMessage as error:
            self._refuse(Message(message.reply, 0, [_blank(now)]), error)
            return
        taken = Message(message.reply, len(message.data), items)
        standing = self._watch.fitness.standing
        if not standing.fit:
            self._refuse(taken, DeviceLost(f"worker {self._worker}: {standing.reason}"))
            return
        if self._rows + taken.rows > self._limits.rows or (
            self._size + taken.size > self._limits.size
        ):
            text = f"worker {self._worker} has {self._rows} rows, {self._size} bytes waiting"
            self._refuse(taken, QueueFull(text))
            return
        self._waiting.append(taken)
        self._rows += taken.rows
        self._size += taken.size
        self._arrived.set()

    def drain(self) -> None:
        """Let `run` return once everything that has arrived is answered."""
        self._draining = True
        self._arrived.set()
        self._overflowed.set()

    async def run(self) -> None:
        """Answer until `drain`. Shielded: what has arrived is always answered."""
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as group:
                group.start_soon(self._reply_refused)
                await self._pump()

    async def _pump(self) -> None:
        while self._waiting or not self._draining:
            await self._arrived.wait()
            if not self._draining:
                self._arrived = anyio.Event()
            messages, self._waiting = self._waiting, []
            await self._answer(messages)
            self._rows -= sum(message.rows for message in messages)
            self._size -= sum(message.size for message in messages)

    async def _reply_refused(self) -> None:
        """Refusals do not wait for the pump: the gateway is to try elsewhere at once."""
        while self._refused or not self._draining:
            await self._overflowed.wait()
            if not self._draining:
                self._overflowed = anyio.Event()
            messages, self._refused = self._refused, []
            for message in messages:
                await self._send(message)

    async def _answer(self, messages: list[Message]) -> None:
        groups: dict[str, list[Item]] = {}
        for message in messages:
            for item in message.items:
                if item.answer is None:
                    groups.setdefault(item.call.artifact, []).append(item)
        for artifact, items in groups.items():
            _, known = self._signatures[artifact]
            for batch in batching.batches(items, known, limit=self._limits.join):
                await self._run(artifact, known, batch)
        for message in messages:
            await self._send(message)

    async def _run(self, artifact: str, known: Signature, items: list[Item]) -> None:
        """One run for some calls; if it fails, each half by itself, so one call fails alone."""
        items = self._still_wanted(items)
        if not items:
            return
        try:
            started = self._clock()
            outputs, run = await self._outputs(artifact, batching.join(items, known))
            batching.split(items, outputs, started=started, run=run, worker=self._worker)
        except Exception as error:  # this is a worker loop: whatever a run raises is answered
            if len(items) == 1 or isinstance(error, DeviceLost):
                for item in items:
                    item.fail(records.as_error(error), self._worker)
                return
            middle = len(items) // 2
            await self._run(artifact, known, items[:middle])
            await self._run(artifact, known, items[middle:])

    async def _outputs(self, artifact: str, inputs: Tensors) -> tuple[Tensors, float]:
        """Run on the loop when that is known to be quick and the device is free, else in the
        device thread; also the seconds it took.

        Raises:
            ModelNotReady: the artifact was released while the calls waited.
            DeviceLost: the device is not trusted any more.
        """
        loaded = self._artifacts.find(artifact)
        if loaded is None:
            raise ModelNotReady(f"artifact {artifact} is not loaded on {self._worker}")
        rows = max((tensor.shape[0] for tensor in inputs.values()), default=1)
        key = (artifact, rows.bit_length())
        quick = self._seconds.get(key, INLINE_SECONDS) < INLINE_SECONDS
        done = self._borrow(loaded, inputs) if quick else None
        if done is None:
            done = await self._device.call(lambda: self._timed(loaded, inputs))
        outputs, run = done
        self._watch.offer(artifact, loaded, inputs, outputs)
        self._watch.fitness.require_trust()
        self._note(key, run)
        return outputs, run

    def _note(self, key: tuple[str, int], run: float) -> None:
        """Learn from a run [s]; one that was interrupted counts as twice as long as usual."""
        usual = self._seconds.get(key, run)
        self._seconds[key] = usual + SMOOTHING * (min(run, INTERRUPTED * usual) - usual)

    def _borrow(self, loaded: Loaded, inputs: Tensors) -> tuple[Tensors, float] | None:
        with self._device.borrowed() as mine:
            return self._timed(loaded, inputs) if mine else None

    def _timed(self, loaded: Loaded, inputs: Tensors) -> tuple[Tensors, float]:
        start = self._clock()
        outputs = loaded.run(inputs)
        return outputs, self._clock() - start

    def _still_wanted(self, items: list[Item]) -> list[Item]:
        now = self._clock()
        for item in items:
            if item.expired(now):
                text = f"the budget of {item.call.budget:.6f} s ended in the queue"
                item.fail(DeadlineExceeded(text), self._worker)
        return [item for item in items if item.answer is None]

    def _read(self, call: packed.Call, body: memoryview, now: float) -> Item:
        item = Item(call, now)
        try:
            item.arrays, item.rows = batching.read(self._signature(call.artifact), call, body)
        except SuiteError as error:
            item.fail(error, self._worker)
        return item

    def _signature(self, artifact: str) -> Signature:
        loaded = self._artifacts.find(artifact)
        if loaded is None:
            self._signatures.pop(artifact, None)
            raise ModelNotReady(f"artifact {artifact} is not loaded on {self._worker}")
        known = self._signatures.get(artifact)
        if known is None or known[0] is not loaded:
            known = self._signatures[artifact] = (loaded, batching.signature(loaded.network))
        return known[1]

    def _refuse(self, message: Message, error: SuiteError) -> None:
        for item in message.items:
            item.fail(error, self._worker)
        self._refused.append(message)
        self._overflowed.set()

    async def _send(self, message: Message) -> None:
        """Reply; where the answers do not fit a message, say so call by call."""
        if not message.reply:
            return
        try:
            await self._bus.publish(message.reply, message.answers())
        except TooLarge as error:
            for item in message.items:
                item.fail(error, self._worker)
            await self._send(message)
        except SuiteError as error:  # the bus is away; the caller's own deadline tells it
            log.warning("reply.lost", calls=len(message.items), reason=records.describe(error))


def _blank(now: float) -> Item:
    """Stands for the calls of a message that cannot be read."""
    return Item(packed.Call("", ()), now)
