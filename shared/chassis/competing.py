"""The computing of a `train` job without labels: rows are shown to neurons that compete, in slices
and with checkpoints as in `training`. Afterwards labels say what each neuron stands for, and rows
that were held out how good that is, by the very calls that will serve.
"""

from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import NamedTuple

import anyio.to_thread
import numpy as np

from shared.bus.port import Bus
from shared.chassis import learned, lesson
from shared.chassis.artifacts import Artifacts
from shared.chassis.checkpoints import LEG, SLICE, Checkpoints
from shared.chassis.device import DeviceThread
from shared.chassis.handler import Outcome, Progress
from shared.chassis.lesson import Lesson
from shared.contracts.errors import InvalidNetwork
from shared.contracts.v1.jobs import BlobRef, TrainBody
from shared.network import activity, artifact, execute
from shared.network.activity import Activity
from shared.network.execute import Loaded
from shared.network.graph import Network
from shared.network.training import backward, competitive, voting
from shared.network.training.competitive import F64, I64, NONE, Learned
from shared.network.training.loop import Rows
from shared.network.training.state import TrainState
from shared.network.training.voting import Held
from shared.operators.spec import Backend, Run
from shared.tensors.dtypes import F32, Array
from shared.tensors.layouts import Tensor, dense

EDITION = "stdp-1"  # of the arithmetic; another one takes up no checkpoint
SCORES = "scores"  # of the held-out rows, in the job's result


@dataclass(frozen=True, slots=True)
class Desk:
    """What the computing needs of a worker."""

    bus: Bus
    device: DeviceThread
    artifacts: Artifacts
    checkpoints: Checkpoints


class Shown(NamedTuple):
    """What neurons know after so many showings."""

    learned: Learned
    step: int


class Told(NamedTuple):
    """How far a job is: showings and rows judged, and a sentence."""

    done: int
    what: str


class Judged(NamedTuple):
    """What came out, and how it does on the rows that were held out, where there are any."""

    network: Network
    stands: I64
    scores: F32 | None = None  # (n, classes)
    layers: Mapping[str, Activity] | None = None


async def run(
    desk: Desk, body: TrainBody, tensors: Mapping[str, Tensor], progress: Progress
) -> Outcome:
    """Show all rows of all epochs, and judge; the report names the artifact, which expires unless
    kept.

    Raises:
        InvalidMessage: the plan makes no sense.
        InvalidTensor: the rows do not fit it, or each other.
        InvalidNetwork: the artifact holds no neurons that could compete.
        BlobMissing.
    """
    held = await _held(desk, body)
    given = await anyio.to_thread.run_sync(lesson.of, body, tensors, held)
    key = await anyio.to_thread.run_sync(learned.key, EDITION, body, tensors)
    found = await desk.checkpoints.last(key, lambda kept: _checked(kept, given))
    now = Shown(given.begun, 0) if found is None else _taken_up(found)
    begun, tell = now.step, _teller(progress, given)
    shows = competitive.order(given.plan, len(given.rows.x), begin=begun)
    while now.step < given.total:
        now = await desk.device.drive(_leg(desk.device.backend, now, given, shows), tell)
        await desk.checkpoints.keep(key, _kept(now, given))
    judged = await desk.device.drive(_judged(desk.device.backend, now.learned, given), tell)
    stored = await desk.bus.put_blob(await anyio.to_thread.run_sync(artifact.pack, judged.network))
    tensors_ = {} if judged.scores is None else {SCORES: dense(judged.scores)}
    return Outcome(tensors_, report=_report(stored, judged, given, begun))


async def _held(desk: Desk, body: TrainBody) -> Held | None:
    """What the artifact of a job holds; None: the job makes one."""
    if body.artifact is None:
        return None
    data = await desk.artifacts.read(body.artifact)
    try:
        return await anyio.to_thread.run_sync(lambda: voting.read(artifact.unpack(data)))
    except ValueError as error:
        raise InvalidNetwork(
            f"{error}; name a model that does not exist yet, and one is made that can learn so"
        ) from None


def _leg(
    backend: Backend, now: Shown, given: Lesson, shows: Iterator[tuple[int, int]]
) -> Generator[Told, None, Shown]:
    """Showings for `LEG` seconds or until the end."""
    run, until = backward.on(backend), perf_counter() + LEG
    found, step = now

    def showing() -> Iterator[Told]:
        nonlocal found, step
        for row, seed in shows:
            found, fired = competitive.show(
                found, given.rows.x[row], given.plan, run, learns=True, seed=seed
            )
            step += 1
            spikes = round(float(fired.sum()) * given.plan.steps)
            yield Told(step, f"row {step} of {given.total} shown, {spikes} spikes")
            if perf_counter() > until:
                return

    yield from _sliced(showing())
    return Shown(found, step)


def _judged(backend: Backend, found: Learned, given: Lesson) -> Generator[Told, None, Judged]:
    """Labels come in, and the rows that were held out."""
    run, totals = backward.on(backend), np.zeros((given.classes, given.plan.neurons))
    yield from _sliced(_answered(found, given, run, totals))
    rows = np.bincount(given.rows.y, minlength=given.classes)
    stands = competitive.stands_for(totals, rows)
    network = _network(found, stands, given)
    if given.held is None:
        return Judged(network, stands)
    scores, seen = list[F32](), list[Mapping[str, Activity]]()
    loaded = execute.load(network, backend)
    try:
        yield from _sliced(_tried(loaded, given.held.x, given, scores, seen))
    finally:
        loaded.close()
    return Judged(network, stands, np.concatenate(scores), activity.total(seen))


def _tried(
    loaded: Loaded,
    rows: Array,
    given: Lesson,
    scores: list[F32],
    seen: list[Mapping[str, Activity]],
) -> Iterator[Told]:
    """Adds the scores of each row, and how much neurons did for it."""
    run, before = backward.on(loaded.backend), given.total + len(given.rows.x)
    for at, row in enumerate(rows):
        inputs = {given.x: dense(row[np.newaxis])}
        scores.append(loaded.run(inputs)[given.scores].values.view(np.float32))
        seen.append(activity.of(loaded.network, inputs, run))
        yield Told(before + at + 1, f"row {at + 1} of {len(rows)} judged")


def _answered(found: Learned, given: Lesson, run: Run, totals: F64) -> Iterator[Told]:
    """Adds what neurons answer to each row to the totals of its class; nothing is learned."""
    rows = given.rows
    for at, (row, label) in enumerate(zip(rows.x, rows.y, strict=True)):
        totals[label] += competitive.show(found, row, given.plan, run, learns=False, seed=at)[1]
        yield Told(given.total + at + 1, f"row {at + 1} of {len(rows.x)} answered")


def _sliced(work: Iterable[Told]) -> Generator[Told, None, None]:
    """All of the work; what is told at the end of every slice."""
    until = perf_counter() + SLICE
    for told in work:
        if perf_counter() > until:
            yield told
            until = perf_counter() + SLICE


def _network(found: Learned, stands: I64, given: Lesson) -> Network:
    names = {"x": given.x, "scores": given.scores}
    return voting.network(found, stands, given.classes, given.plan, **names)


def _kept(now: Shown, given: Lesson) -> TrainState:
    nothing = np.full(given.plan.neurons, NONE, np.int64)
    return TrainState(_network(now.learned, nothing, given), {}, now.step)


def _taken_up(found: TrainState) -> Shown:
    return Shown(voting.read(found.network).learned, found.step)


def _checked(found: TrainState, given: Lesson) -> TrainState:
    shape, wanted = _taken_up(found).learned.weight.shape, given.begun.weight.shape
    if shape != wanted or found.step > given.total:
        raise ValueError(f"{shape} synapses at step {found.step}, not {wanted} of {given.total}")
    return found


def _teller(progress: Progress, given: Lesson) -> Callable[[Told], Awaitable[None]]:
    whole = given.total + len(given.rows.x) + (len(given.held.x) if given.held else 0)

    async def tell(told: Told) -> None:
        await progress(told.done / whole, told.what)

    return tell


def _report(stored: BlobRef, judged: Judged, given: Lesson, begun: int) -> dict[str, object]:
    counted = np.bincount(judged.stands[judged.stands != NONE], minlength=given.classes)
    found: dict[str, object] = {
        "artifact": stored.sha256,
        "size": stored.size,
        "weight_bytes": judged.network.weight_bytes,
        "steps": given.total,
        "resumed_at": begun,
        "rows": len(given.rows.x),
        "neurons": given.plan.neurons,
        "classes": given.classes,
        "neurons_of_class": counted.tolist(),
        "idle": int((judged.stands == NONE).sum()),  # neurons that answered no row
    }
    if given.held is not None and judged.scores is not None and judged.layers is not None:
        found["held_rows"] = len(given.held.x)
        found["correct"] = _correct(judged.scores, given.held)
        found["layers"] = {name: asdict(one) for name, one in judged.layers.items()}
    return found


def _correct(scores: F32, held: Rows) -> int:
    return int((scores.argmax(axis=1) == held.y).sum())
