"""What a network costs step by step and how much its answers lose by each change; and what follows.

The first half measures, on the class that will serve; the second recommends, and is pure.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial

import anyio.to_thread

from services.compressor import pipeline, rounded, stages
from services.compressor.stages import Kitchen
from shared.contracts.v1.jobs import BlobRef, InferBody
from shared.contracts.v1.recipes import Adapt, LayOut, Prune, Quantize, Recipe
from shared.contracts.v1.recipes import Train as TrainStage
from shared.contracts.v1.training import SparseTraining
from shared.network import artifact
from shared.network.graph import Network
from shared.pruning import masks
from shared.quantization import affine, scheme
from shared.tensors.dtypes import F32, Array
from shared.tensors.layouts import Tensor, dense

WAYS = ("8 bits", "4 bits", "90% zeros")  # whose loss is measured, layer by layer
TRACES = 20  # runs of which the median time of a step is taken
LIGHT = 0.5  # share of the time in dense layers below which sparsity cannot pay much
GROUP = 32
TUNING = TrainStage(epochs=5, rate=3e-4)  # after pruning: Renda et al. 2020 fine-tune at low rates


@dataclass(frozen=True, slots=True)
class StepFigures:
    """One step at the batch that was asked for."""

    step: str
    operator: str
    seconds: float  # median
    flops: float
    bytes: float
    sparsity: float
    loss: Mapping[str, float] = field(default_factory=dict)  # by way [nats], for dense layers


@dataclass(frozen=True, slots=True)
class Advice:
    """A recipe, and why it stands where it does."""

    name: str
    recipe: Recipe
    reason: str


async def analyze(kitchen: Kitchen, start: BlobRef) -> list[StepFigures]:
    """Time, cost and sensitivity of every step.

    Raises:
        SuiteError: what the traced run failed with.
    """
    bench = kitchen.bench
    body = InferBody(artifact=start.sha256, trace=True, repeat=TRACES)
    record, _ = await bench.run(body, bench.rows.batch(bench.batch))
    data = await bench.bus.get_blob(start)
    network = await anyio.to_thread.run_sync(artifact.unpack, data)
    x = bench.rows.x[: stages.JUDGED]
    losses = await anyio.to_thread.run_sync(sensitivities, network, x)
    return [
        StepFigures(**one.model_dump(), loss=losses.get(one.step, {}))
        for one in record.timing.steps
    ]


def sensitivities(network: Network, x: Array) -> dict[str, dict[str, float]]:
    """By step and way, the mean KL divergence [nats] of the answers when one layer changes."""
    scores = partial(stages.scores, x=x)
    reference = scores(network)
    return {
        name: {
            way: rounded.lost(network, name, tensor, reference, scores)
            for way, tensor in _ways(weight).items()
        }
        for name, weight in pipeline.dense_weights(network).items()
    }


def recommend(figures: list[StepFigures], *, trains: bool, calibrates: bool) -> list[Advice]:
    """Recipes worth trying, the most promising first.

    Args:
        trains: rows to learn from are there.
        calibrates: rows to calibrate on are there.

    Raises:
        ValueError: no step is a dense layer.
    """
    layers = [one for one in figures if one.loss]
    if not layers:
        raise ValueError("nothing to compress: the network has no dense layer")
    found = [*_few_bits(layers, calibrates=calibrates)]
    share = sum(one.seconds for one in layers) / max(sum(one.seconds for one in figures), 1e-12)
    told = f"dense layers take {share:.0%} of the time"
    if trains:
        pruned = (Prune(sparsity=0.9), TUNING, LayOut())
        short = (Prune(sparsity=0.9), TUNING, LayOut(values="i8"))
        sparse = SparseTraining(method="rigl", sparsity=0.95, every=25)
        grown = (TrainStage(epochs=40, rate=2e-3, fresh=True, sparse=sparse), LayOut())
        found += [
            Advice("pruned90-tuned", Recipe(stages=pruned), f"{told}; training mends the pruning"),
            Advice("pruned90-i8", Recipe(stages=short), "the same with values of one byte"),
            Advice("rigl95", Recipe(stages=grown), "weights find their places while they learn"),
        ]
    elif share >= LIGHT:
        worst = max(one.loss["90% zeros"] for one in layers)
        found.append(
            Advice(
                "pruned80",
                Recipe(stages=(Prune(sparsity=0.8), LayOut())),
                f"{told}; without rows to learn from less may go: at 90 % the most sensitive layer "
                f"loses {worst:.2g} nats",
            )
        )
    return found


def told(figures: list[StepFigures]) -> list[dict[str, object]]:
    """The figures for a report."""
    return [asdict(one) | {"loss": dict(one.loss)} for one in figures]


def _few_bits(layers: list[StepFigures], *, calibrates: bool) -> list[Advice]:
    lost8, lost4 = (sum(one.loss[way] for one in layers) for way in ("8 bits", "4 bits"))
    eight = Advice("int8", Recipe(stages=(Quantize(bits=8),)), f"8 bits lose {lost8:.2g} nats")
    if not calibrates:
        plain = Recipe(stages=(Quantize(bits=4, group=GROUP, solver="hqq"),))
        return [eight, Advice("int4-hqq", plain, f"4 bits lose {lost4:.2g} nats, nothing given")]
    solved = Recipe(stages=(Quantize(bits=4, group=GROUP, solver="gptq", bias_correction=True),))
    mixed = Recipe(stages=(Adapt(share=0.2, group=GROUP),))
    return [
        eight,
        Advice("int4-gptq", solved, f"rounding to 4 bits loses {lost4:.2g} nats; GPTQ loses less"),
        Advice("mixed", mixed, "layers that suffer get 8 bits, a fifth of the bytes in all"),
    ]


def _ways(weight: F32) -> dict[str, Tensor]:
    four = scheme.int4_per_group(GROUP).fitted(weight.shape[1])
    kept = masks.magnitude(weight, masks.budget(weight.size, 0.9))
    made = (
        affine.quantize(weight, scheme.INT8_PER_CHANNEL),
        affine.quantize(weight, four),
        dense(masks.apply(weight, kept)),
    )
    return dict(zip(WAYS, made, strict=True))
