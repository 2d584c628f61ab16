"""Choose the layout of every pruned layer by trials on the class that will serve it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import anyio.to_thread
import numpy as np

from services.compressor import measure, memory
from services.compressor.measure import Bench
from services.compressor.memory import Host
from services.compressor.pipeline import Pruned
from shared.chassis.handler import Progress
from shared.contracts.errors import BusUnavailable, SuiteError
from shared.contracts.v1.jobs import CompressBody, OperatorBody
from shared.network import rewrites, shapes
from shared.network.graph import Network, Step
from shared.operators import dims
from shared.sparse import candidates, choose, features
from shared.sparse.candidates import DENSE, Candidate
from shared.sparse.choose import Choice, Goal, Question
from shared.sparse.convert import to_csr
from shared.sparse.trials import EDITION, Answer, Failure, Key, Remembered, Trial
from shared.tensors import layouts
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Tensor

USES = 100_000  # calls for which a layer is laid out once: a served model sees many
ROUNDS = 3  # candidates take turns, so that a drift of the machine hits all of them
ROUND_SECONDS = 0.2  # [s] of timed calls of a candidate per round
SEED = 580
_GOALS = {"latency": Goal.TIME, "size": Goal.BYTES, "both": Goal.BOTH, "accuracy": Goal.TIME}


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A dense layer with its pruned weight, and what it is called with."""

    step: Step
    weight: Tensor  # (rows, cols) dense f32, zeros where it was pruned
    x: tuple[int, int]  # rows of a call, cols


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """What was chosen for every layer, and the weights of those that are sparse."""

    choices: Mapping[str, Choice]  # by step name
    weights: Mapping[str, Tensor]  # by step name


@dataclass(slots=True, eq=False)
class Layouts:
    """Chooses for one compress job. Holds what is remembered and what was found."""

    bench: Bench
    dtype: Dtype
    goal: Goal
    on: Host | None  # None: the class has several, so nothing is remembered
    known: dict[Key, Remembered]
    found: list[tuple[Question, Mapping[Candidate, Answer]]] = field(default_factory=list)
    ran_on: set[Host] = field(default_factory=set)

    async def choose(self, layer: Layer) -> tuple[Choice, Tensor | None]:
        """The choice for a layer, and its weight unless that stays dense."""
        question = await anyio.to_thread.run_sync(self._question, layer)
        known = self._recalled(question)
        if isinstance(known, Choice):
            try:
                return known, await self._made(layer, known.candidate)
            except ValueError as error:  # such as a value that f16 cannot hold
                known = f"what was remembered is not used: {error}"
        trials = {c: _Trials(self.bench, layer, c) for c in choose.plan(question)}
        for _ in range(ROUNDS):
            for trial in trials.values():
                await trial.take()
        answers = {candidate: trial.answer() for candidate, trial in trials.items()}
        self._note(question, answers)
        self.ran_on |= {host for trial in trials.values() for host in trial.ran_on}
        choice = choose.decide(question, answers, note=known)
        return choice, await self._made(layer, choice.candidate)

    async def remember(self) -> None:
        """Store what was found, unless it was found on several kinds of devices."""
        if self.on is not None and self.ran_on == {self.on}:
            await memory.store(self.bench.bus, self.bench.worker_class, self.on, self.found)

    def _question(self, layer: Layer) -> Question:
        seen = features.of(to_csr(layer.weight))
        return Question(seen, layer.x[0], USES, self.dtype, self.goal)

    def _note(self, question: Question, answers: Mapping[Candidate, Answer]) -> None:
        """Keep trials for later jobs, and for further layers of this one."""
        self.found.append((question, answers))
        if self.on is not None:
            key = Key(question.shape, self.on.device, self.on.driver)
            held = {c.name: told for c, told in answers.items() if isinstance(told, Trial)}
            self.known[key] = Remembered(EDITION, held)

    def _recalled(self, question: Question) -> Choice | str:
        if self.on is None:
            return ""
        key = Key(question.shape, self.on.device, self.on.driver)
        return choose.recall(question, self.known.get(key))

    async def _made(self, layer: Layer, candidate: Candidate) -> Tensor | None:
        if candidate == DENSE:
            return None
        return await anyio.to_thread.run_sync(candidates.laid_out, layer.weight, candidate)


@dataclass(slots=True, eq=False)
class _Trials:
    """The timed calls of one candidate for one layer."""

    bench: Bench
    layer: Layer
    candidate: Candidate
    samples: list[float] = field(default_factory=list)  # [s] of the last round
    rounds: list[float] = field(default_factory=list)  # [s] median of each round
    ran_on: set[Host] = field(default_factory=set)
    conversion_s: float = 0.0
    failure: str = ""
    weight: Tensor | None = None

    async def take(self) -> None:
        """One round; after a failure there are no more."""
        if self.failure:
            return
        try:
            weight = self.weight or await self._converted()
            body, tensors = call(self.layer, weight, self._repeat())
            record, _ = await self.bench.run(body, tensors)
        except BusUnavailable:
            raise  # says nothing of the candidate
        except (SuiteError, ValueError) as error:
            self.failure = str(error)
            return
        self.samples = list(record.timing.samples)
        self.rounds.append(median(self.samples))
        self.ran_on.add(Host(record.device, record.driver))

    def answer(self) -> Answer:
        """What it took in its best round, or why it failed: neighbours only ever add to a round."""
        if self.failure or not self.rounds:
            return Failure(self.failure or "no call was timed")
        return Trial(min(self.rounds), self.conversion_s)

    async def _converted(self) -> Tensor:
        if self.candidate == DENSE:  # it is at hand so
            self.weight = self.layer.weight
            return self.weight
        started = time.perf_counter()
        make = partial(candidates.laid_out, self.layer.weight, self.candidate)
        self.weight = await anyio.to_thread.run_sync(make)
        self.conversion_s = time.perf_counter() - started
        return self.weight

    def _repeat(self) -> int:
        return measure.repeats(self.samples, ROUND_SECONDS)


async def lay_out(
    bench: Bench, body: CompressBody, network: Network, pruned: Pruned, progress: Progress
) -> Laid:
    """Choose for every pruned layer; the trials are remembered for the class.

    Raises:
        BusUnavailable: the broker cannot be asked.
    """
    on = await memory.host(bench.bus, bench.worker_class)
    known = await memory.load(bench.bus, bench.worker_class)
    chooser = Layouts(bench, Dtype(body.values or "f32"), _GOALS[body.objective], on, known)
    choices: dict[str, Choice] = {}
    weights: dict[str, Tensor] = {}
    layers = _layers(network, pruned, body.batch)
    for done, layer in enumerate(layers):
        name = layer.step.name
        await progress(0.05 + 0.15 * done / len(layers), f"trying layouts of {name}")
        choices[name], made = await chooser.choose(layer)
        if made is not None:
            weights[name] = made
    await chooser.remember()
    return Laid(choices, weights)


async def seconds(
    bench: Bench, network: Network, made: Mapping[str, Mapping[str, Tensor]], batch: int
) -> dict[str, dict[str, float]]:
    """What the product of each layer takes with each of its weights on the class [s].

    Args:
        made: weights by step name and what they are called; they take turns.

    Raises:
        SuiteError: what a timed call failed with.
    """
    types, steps = shapes.infer(network, batch), {step.name: step for step in network.steps}
    found: dict[str, dict[str, float]] = {}
    for name, weights in made.items():
        x = dims.matrix(_named(types, steps[name]), "x")
        found[name] = await _in_turns(bench, steps[name], x, weights)
    return found


async def _in_turns(
    bench: Bench, step: Step, x: tuple[int, int], weights: Mapping[str, Tensor]
) -> dict[str, float]:
    """The best round of each weight: neighbours only ever add to one."""
    samples: dict[str, list[float]] = {way: [] for way in weights}
    best = dict.fromkeys(weights, float("inf"))
    for _ in range(ROUNDS):
        for way, weight in weights.items():
            repeat = measure.repeats(samples[way], ROUND_SECONDS)
            record, _ = await bench.run(*call(Layer(step, weight, x), weight, repeat))
            samples[way] = list(record.timing.samples)
            best[way] = min(best[way], median(samples[way]))
    return best


def call(layer: Layer, weight: Tensor, repeat: int) -> tuple[OperatorBody, dict[str, Tensor]]:
    """The operator call of a layer with its weight in some layout; x is normal."""
    rng = np.random.default_rng(SEED)
    tensors = {
        "weight": weight,
        "x": layouts.dense(rng.standard_normal(layer.x, dtype=np.float32)),
    }
    if "bias" in layer.step.inputs:
        tensors["bias"] = layouts.dense(np.zeros(weight.shape[0], np.float32))
    attributes = dict(layer.step.attributes)
    if weight.layout in layouts.SPARSE:
        attributes["batch_first"] = True
    operator = rewrites.OPERATORS[weight.layout]
    return OperatorBody(operator=operator, attributes=attributes, repeat=repeat), tensors


def _layers(network: Network, pruned: Pruned, batch: int) -> list[Layer]:
    types = shapes.infer(network, batch)
    return [
        Layer(step, layouts.dense(weight), dims.matrix(_named(types, step), "x"))
        for step in network.steps
        if (weight := pruned.weights.get(step.name)) is not None
    ]


def _named(types: Mapping[str, layouts.TensorType], step: Step) -> dict[str, layouts.TensorType]:
    return {"x": types[step.inputs["x"]]}
