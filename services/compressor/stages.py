"""A recipe, stage by stage: each from an artifact to an artifact, remembered by what it reads.

What a stage makes is stored for a day under a hash of the artifact, the stage and its rows. So a
job that was killed goes on where it was, and one that is asked for again is answered from there.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import anyio.to_thread
import structlog
from pydantic import Field

from services.compressor import calibration, laying, pruned, rounded, training
from services.compressor.measure import Bench
from services.compressor.pipeline import Pruned
from shared.chassis.handler import Progress
from shared.contracts.errors import BlobMissing, InvalidNetwork, InvalidTensor
from shared.contracts.message import Value
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import BlobRef, CompressBody, TrainBody
from shared.contracts.v1.recipes import (
    Adapt,
    Equalize,
    LayOut,
    Prune,
    Quantize,
    Recipe,
    Smooth,
    Spike,
    Stage,
)
from shared.contracts.v1.recipes import Train as TrainStage
from shared.network import artifact, chains, conversion, execute, rewrites
from shared.network.graph import Network
from shared.network.training import backward
from shared.operators.reference import ReferenceBackend
from shared.quantization.observers import Observed
from shared.sparse import candidates, convert
from shared.tensors import container, layouts
from shared.tensors.dtypes import F32, Array
from shared.tensors.layouts import SPARSE, Tensor

EDITION = "3"  # of what stages do; another one finds nothing in the store
JUDGED = 256  # rows on which the loss of a layer is measured
SLOPED = 1024  # rows whose slopes score weights
_READS = {  # by stage, the tensors on which its result depends
    "train": ("train_x", "train_labels"),
    "prune": ("train_x", "train_labels", "calibration_x"),
    "smooth": ("calibration_x", "train_x"),
    "quantize": ("calibration_x", "train_x"),
    "adapt": ("calibration_x", "train_x"),
    "spike": ("calibration_x", "train_x"),
}
log = structlog.get_logger()


class Made(Value):
    """What a stage made, as it is remembered."""

    artifact: BlobRef
    notes: dict[str, str] = Field(default_factory=dict)  # by step
    stage: Stage | None = None  # with what it decided by trials; None: as it was asked for


@dataclass(slots=True, eq=False)
class Kitchen:
    """Where and for whom a recipe is carried out, and on which rows."""

    bench: Bench
    body: CompressBody
    tensors: Mapping[str, Tensor]
    progress: Progress
    notes: dict[str, str] = field(default_factory=dict)

    async def cook(self, recipe: Recipe, start: BlobRef) -> tuple[BlobRef, Recipe]:
        """The artifact that comes out, and the recipe with every decision named.

        Raises:
            InvalidNetwork: a stage cannot do what it should with this network; says why.
            InvalidTensor, NonFiniteInput, TrainingDiverged: about the rows.
        """
        now, fixed = start, list[Stage]()
        for at, stage in enumerate(recipe.stages):
            await self.progress(0.05 + 0.4 * at / len(recipe.stages), f"stage {stage.stage}")
            made = await self._remembered(stage, now)
            self.notes |= made.notes
            fixed.append(made.stage or stage)
            now = made.artifact
        return now, Recipe(stages=tuple(fixed))

    async def _remembered(self, stage: Stage, now: BlobRef) -> Made:
        key = f"stage.{await anyio.to_thread.run_sync(self._key, stage, now)}"
        entry = await self.bench.bus.get(Bucket.CONTROL, key)
        if entry is not None and entry.value is not None:
            made = Made.model_validate_json(entry.value)
            try:
                await self.bench.bus.get_blob(made.artifact)
                log.info("stage.remembered", stage=stage.stage, artifact=made.artifact.sha256)
                return made
            except BlobMissing:
                pass  # it has expired
        made = await self._made(stage, now)
        await self.bench.bus.put(Bucket.CONTROL, key, made.model_dump_json().encode())
        return made

    async def _made(self, stage: Stage, now: BlobRef) -> Made:
        try:
            return await self._by_kind(stage, now)
        except ValueError as error:  # the mathematics side names the value
            raise InvalidNetwork(f"stage {stage.stage}: {error}") from None

    async def _by_kind(self, stage: Stage, now: BlobRef) -> Made:
        match stage:
            case TrainStage():
                return await self._trained(stage, now)
            case LayOut():
                return await self._laid_out(stage, now)
            case Adapt():
                return await self._adapted(stage, now)
        network = await self._network(now)
        seen = await self._seen(stage, now)
        work = partial(_pure, stage, network, seen, self.tensors)
        changed, notes = await anyio.to_thread.run_sync(work)
        return Made(artifact=await self._store(changed), notes=notes)

    async def _trained(self, stage: TrainStage, now: BlobRef) -> Made:
        given = stage.model_dump(exclude={"stage"})
        body = TrainBody(**given, worker_class=training.COMPUTES)
        rows = {name: self.tensors[name] for name in training.LEARNED if name in self.tensors}
        bench = self.bench
        record, _ = await training.compute(bench.bus, bench.job, body, now, rows, self._training)
        return Made(artifact=training.trained(record))

    async def _training(self, done: float, what: str) -> None:
        await self.progress(0.05 + 0.4 * done, what)

    async def _laid_out(self, stage: LayOut, now: BlobRef) -> Made:
        network = await self._network(now)
        sparse = {
            name: convert.to_dense(network.weights[step.inputs["weight"]])
            for name, step in rewrites.products(network).items()
            if network.weights[step.inputs["weight"]].layout in SPARSE
        }
        if not sparse:
            raise ValueError("nothing to lay out: no layer is sparse")
        plain = rewrites.with_weights(network, {n: layouts.dense(w) for n, w in sparse.items()})
        if stage.layouts is not None:
            return await self._as_told(stage, plain, sparse)
        body = self.body.model_copy(update={"values": stage.values})
        laid = await laying.lay_out(self.bench, body, plain, Pruned(sparse, {}), self.progress)
        changed = rewrites.with_weights(plain, laid.weights)
        told = {name: choice.candidate.name for name, choice in laid.choices.items()}
        return Made(
            artifact=await self._store(changed),
            notes={name: choice.reason for name, choice in laid.choices.items()},
            stage=stage.model_copy(update={"layouts": told}),
        )

    async def _as_told(self, stage: LayOut, plain: Network, sparse: Mapping[str, F32]) -> Made:
        """Layouts that were chosen before."""
        told = stage.layouts or {}
        if unknown := sorted(told.keys() - sparse.keys()):
            raise ValueError(f"no sparse layer is called {unknown[0]!r}; there are {[*sparse]}")
        if wrong := [name for name in told.values() if name not in candidates.EVERY]:
            raise ValueError(f"no layout is called {wrong[0]!r}; known: {[*candidates.EVERY]}")
        made = {
            name: candidates.laid_out(layouts.dense(sparse[name]), candidates.EVERY[layout])
            for name, layout in told.items()
            if candidates.EVERY[layout] != candidates.DENSE  # it is plain already
        }
        changed = rewrites.with_weights(plain, made)
        return Made(artifact=await self._store(changed))

    async def _adapted(self, stage: Adapt, now: BlobRef) -> Made:
        network, seen = await self._network(now), await self._seen(stage, now)
        ways = await anyio.to_thread.run_sync(rounded.ways, stage, network, seen)
        chosen, notes = dict(stage.layers or {}), dict[str, str]()
        if stage.layers is None:
            costs = rounded.bytes_of(ways)
            if stage.seconds is not None:
                costs = await laying.seconds(self.bench, network, ways, self.body.batch)
            answers = partial(scores, x=calibration.rows(self.tensors)[:JUDGED])
            work = partial(rounded.adapted, stage, network, ways, costs, answers)
            chosen, notes = await anyio.to_thread.run_sync(work)
        artifact = await self._store(rounded.picked(network, ways, chosen))
        told = stage.model_copy(update={"layers": chosen})
        return Made(artifact=artifact, notes=notes, stage=told)

    async def _seen(self, stage: Stage, now: BlobRef) -> dict[str, Observed]:
        """What the layers read, when the stage wants to know."""
        if not _calibrates(stage):
            return {}
        return await calibration.observe(self.bench, now, calibration.rows(self.tensors))

    async def _network(self, now: BlobRef) -> Network:
        data = await self.bench.bus.get_blob(now)
        return await anyio.to_thread.run_sync(artifact.unpack, data)

    async def _store(self, network: Network) -> BlobRef:
        return await self.bench.bus.put_blob(await anyio.to_thread.run_sync(artifact.pack, network))

    def _key(self, stage: Stage, now: BlobRef) -> str:
        """A hash of all that a stage's result depends on."""
        names = _READS.get(stage.stage, ())
        held = {name: self.tensors[name] for name in names if name in self.tensors}
        parts = [
            EDITION,
            now.sha256,
            stage.model_dump_json(),
            container.digest(container.pack(held)),
        ]
        if isinstance(stage, LayOut) or (isinstance(stage, Adapt) and stage.seconds is not None):
            asked = self.body
            parts += [self.bench.worker_class, asked.objective, str(asked.batch)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _calibrates(stage: Stage) -> bool:
    match stage:
        case Prune():
            return stage.score == "wanda"
        case Quantize():
            learns = stage.solver in ("gptq", "awq") or stage.bias_correction
            return learns or stage.activations == "static"
        case Adapt() | Smooth() | Spike():
            return True
    return False


def _pure(
    stage: Stage, network: Network, seen: dict[str, Observed], tensors: Mapping[str, Tensor]
) -> tuple[Network, dict[str, str]]:
    """What needs no other worker."""
    match stage:
        case Prune():
            weights = pruned.layers(network, stage)
            found = _slopes(stage, network, list(weights), tensors)
            made = pruned.apply(stage, network, pruned.score(stage, weights, seen, found))
            return made, pruned.left(network, stage)
        case Equalize():
            if not list(chains.pairs(network)):
                raise ValueError("nothing to equalize: no dense layer alone reads another's output")
            return chains.equalized(network), {}
        case Smooth():
            if not list(chains.pairs(network)):
                raise ValueError("nothing to smooth: no dense layer alone reads another's output")
            changed, shares = chains.smoothed(network, seen, stage.alpha)
            return changed, {name: f"alpha {share:g}" for name, share in shares.items()}
        case Spike():
            steps, share, mode = stage.steps, stage.share, stage.mode
            return conversion.converted(network, seen, steps=steps, share=share, mode=mode), {}
        case Quantize():
            coded = rounded.apply(stage, network, seen)
            return coded.network, dict(coded.notes)
    raise ValueError(f"stage {stage.stage} is not done here")


def _slopes(
    stage: Prune, network: Network, names: list[str], tensors: Mapping[str, Tensor]
) -> dict[str, F32]:
    if stage.score not in ("gradient", "snip"):
        return {}
    if missing := [name for name in training.LEARNED if name not in tensors]:
        raise InvalidTensor(f"the score {stage.score} needs the tensor {missing[0]!r}")
    x, labels = (tensors[name].values[:SLOPED] for name in training.LEARNED)
    return pruned.slopes(network, names, x, labels, backward.on(ReferenceBackend()))


def scores(network: Network, x: Array) -> F32:
    """The first output of a network on rows, by the references."""
    loaded = execute.load(network, ReferenceBackend())
    (port,) = network.inputs
    scores: F32 = loaded.run({port: layouts.dense(x)})[network.outputs[0]].values.view("<f4")
    return scores
