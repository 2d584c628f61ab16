"""Whether compression and sparse training do what their papers say, on real data over ten seeds.

``python -m ops.bench.faithfulness`` trains, prunes and quantizes classifiers of scikit-learn's
digits on the CPU backend and writes results/faithfulness.json, one entry per seed; seeds that are
there already are not computed again. Nothing here is asserted: what does not hold is in the table.
"""

import json
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import threadpoolctl

from ops.bench import digits_networks, machine
from ops.demo import digits
from ops.demo.digits import Digits
from services.cpu_worker import engine
from services.cpu_worker.backend import CpuBackend
from shared.chassis import compute
from shared.chassis.settings import CpuSettings
from shared.network import integers, observing, rewrites
from shared.network.graph import Network
from shared.network.training import backward, loop
from shared.network.training.loop import Rows
from shared.network.training.plan import Method, SparsePlan, TrainPlan
from shared.operators.spec import Run
from shared.pruning import masks
from shared.quantization import affine, observers, ranges
from shared.quantization.ranges import Range
from shared.quantization.scheme import INT8_PER_CHANNEL, Scheme, int4_per_group
from shared.quantization.solvers import gptq
from shared.sparse import candidates
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Layout, Tensor, dense

RESULTS = Path(__file__).parent / "results" / "faithfulness.json"
SEEDS = range(10)
SIZES = (64, 256, 256, 10)
SPARSITIES = (0.95, 0.98)
METHODS: tuple[Method, ...] = ("static", "set", "rigl", "dsr")
EPOCHS, BATCH, EVERY = 60, 64, 25  # 1,380 steps; weights move 41 times
MEMORY_SIZES, MEMORY_STEPS = (784, 1024, 1024, 10), 40
GROUP = 32
Found = dict[str, object]


def main() -> None:
    """Measure what is missing and write after every seed."""
    threadpoolctl.threadpool_limits(compute.BLAS_THREADS)
    backend = CpuBackend(engine.start(CpuSettings().cache))
    found: Found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    seeds = found.setdefault("seeds", {})
    assert isinstance(seeds, dict)
    found["machine"] = machine.facts()
    found["network"], found["epochs"], found["batch"] = SIZES, EPOCHS, BATCH
    for seed in SEEDS:
        if str(seed) in seeds:
            continue
        seeds[str(seed)] = of_seed(seed, backend)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
        sys.stdout.write(f"{seed} {seeds[str(seed)]}\n")
    found["ratios"] = {"training": training(backend), "layouts": layouts()}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


def of_seed(seed: int, backend: CpuBackend) -> Found:
    """Accuracies on held-out scans, and errors on a heavy-tailed activation."""
    data, run = digits.load(seed=seed), backward.on(backend)

    def score(network: Network) -> float:
        return digits_networks.accuracy(network, data, backend)

    whole = digits_networks.trained(digits_networks.mlp(*SIZES), plan(seed), data, run)
    gradual = SparsePlan("gradual", 0.9, every=EVERY)
    found: Found = {
        "dense": score(whole),
        "gradual 90%": score(_sparse(seed, gradual, data, run)),
        **quantized(whole, data, run, score),
        "heavy tail": heavy_tail(seed),
    }
    for sparsity in SPARSITIES:
        for method in METHODS:
            sparse = SparsePlan(method, sparsity, every=EVERY)
            found[f"{method} {sparsity:.0%}"] = score(_sparse(seed, sparse, data, run))
    return found


def plan(seed: int, sparse: SparsePlan | None = None) -> TrainPlan:
    """The same for every method."""
    return TrainPlan(rate=2e-3, epochs=EPOCHS, batch=BATCH, seed=seed, sparse=sparse)


def quantized(
    whole: Network, data: Digits, run: Run, score: Callable[[Network], float]
) -> dict[str, object]:
    """Accuracies of one trained network with weights of 8 and 4 bits."""
    seen = observing.observe(whole, data.x, run)

    def nearest(step: str, weight: F32, scheme: Scheme) -> Tensor:
        return affine.quantize(weight, scheme)

    def solved(step: str, weight: F32, scheme: Scheme) -> Tensor:
        gram = seen[step].gram
        assert gram is not None  # layers are small
        return gptq.quantize(weight, gram, scheme)

    int4, int8 = int4_per_group(GROUP), _rounded(whole, INT8_PER_CHANNEL, nearest)
    codes = {
        name: ranges.affine(ranges.percentile(one), 8, symmetric=False)
        for name, one in seen.items()
    }
    return {
        "int8": score(int8),
        "int8 static": score(integers.static(int8, codes)),
        "int4 nearest": score(_rounded(whole, int4, nearest)),
        "int4 gptq": score(_rounded(whole, int4, solved)),
        "int4 error": {
            name: gptq.loss(weight, solved(name, weight, int4), _gram(seen[name].gram))
            / gptq.loss(weight, nearest(name, weight, int4), _gram(seen[name].gram))
            for name, weight in _weights(whole).items()
        },
    }


def heavy_tail(seed: int) -> dict[str, dict[str, float]]:
    """Mean squared errors of the middle 99 % of Student's t with two degrees of freedom."""
    x = np.random.default_rng(seed).standard_t(2, (50_000, 1)).astype(np.float32)
    seen = observers.add(observers.empty(1), x)
    bulk = x[np.abs(x) <= np.quantile(np.abs(x), 0.99)]
    found = {}
    for bits in (8, 4):
        rules = {
            "min-max": ranges.min_max(seen),
            "percentile": ranges.percentile(seen, 0.999),
            "mse": ranges.mse(seen, bits),
            "entropy": ranges.entropy(seen, bits),
        }
        found[f"{bits} bits"] = {name: _error(bulk, rule, bits) for name, rule in rules.items()}
    return found


def training(backend: CpuBackend) -> dict[str, dict[str, float]]:
    """Time of a step [s], peak of what Python allocates, and bytes of weights and optimiser."""
    rng = np.random.default_rng(580)
    x = rng.standard_normal((1024, MEMORY_SIZES[0]), dtype=np.float32)
    rows, run = Rows(x, rng.integers(0, 10, 1024)), backward.on(backend)
    plans = {
        "dense": None,
        **{
            f"{method} {sparsity:.0%}": SparsePlan(method, sparsity, every=10)
            for sparsity in (0.9, 0.98)
            for method in ("static", "set", "rigl")
        },
    }
    return {
        name: _footprint(TrainPlan(epochs=100, batch=128, sparse=sparse), rows, run)
        for name, sparse in plans.items()
    }


def layouts() -> dict[str, float]:
    """Times that a 1024 x 1024 weight of 90 % zeros is smaller than dense float32, by layout."""
    weight = np.random.default_rng(580).standard_normal((1024, 1024), dtype=np.float32)
    kept = masks.magnitude(weight, masks.budget(weight.size, 0.9))
    pruned = dense(masks.apply(weight, kept))
    found = {}
    for layout in (Layout.CSR, Layout.SELL, Layout.BITMASK):
        for values in candidates.VALUES:
            one = candidates.Candidate(layout, values)
            found[one.name] = pruned.nbytes / candidates.laid_out(pruned, one).nbytes
    return found


def _footprint(plan_: TrainPlan, rows: Rows, run: Run) -> dict[str, float]:
    state = loop.start(digits_networks.mlp(*MEMORY_SIZES), plan_, fresh=True)
    taken = []
    for _ in range(MEMORY_STEPS):
        started = time.perf_counter()
        state = loop.advance(state, plan_, rows, run)
        taken.append(time.perf_counter() - started)
    tracemalloc.start()
    for _ in range(11):  # an update among them
        state = loop.advance(state, plan_, rows, run)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    mean = sum(taken[1:]) / len(taken[1:])
    return {"step_s": median(taken), "mean_step_s": mean, "peak": peak, "state": state.nbytes}


def _sparse(seed: int, sparse: SparsePlan, data: Digits, run: Run) -> Network:
    start = digits_networks.mlp(*SIZES)
    return digits_networks.trained(start, plan(seed, sparse), data, run)


def _weights(network: Network) -> dict[str, F32]:
    return {
        name: network.weights[step.inputs["weight"]].values.view(np.float32)
        for name, step in rewrites.products(network).items()
    }


def _rounded(
    network: Network, scheme: Scheme, solver: Callable[[str, F32, Scheme], Tensor]
) -> Network:
    made = {
        name: solver(name, weight, scheme.fitted(weight.shape[1]))
        for name, weight in _weights(network).items()
    }
    return rewrites.with_weights(network, made)


def _gram(gram: observers.F64 | None) -> observers.F64:
    assert gram is not None  # layers are small
    return gram


def _error(x: F32, found: Range, bits: int) -> float:
    codes = ranges.affine(found, bits, symmetric=False)
    whole = np.clip(np.rint(x / codes.scale) + codes.zero, codes.bottom, codes.top)
    return float(np.square(x - (whole - codes.zero) * codes.scale).mean())


if __name__ == "__main__":
    main()
