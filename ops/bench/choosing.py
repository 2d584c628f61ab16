"""Whether the layout that `shared.sparse.choose` picks is the right one, on sixty matrices.

``python -m ops.bench.choosing`` times every candidate of every matrix on the CPU backend, with one
thread as a worker has it, and writes results/choosing.json. What the choice would have been is
computed from the recorded times: a trial sees the first rounds alone, hindsight the others, so a
lucky sample does not count for both.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean, median

import numpy as np
import threadpoolctl

from ops.bench import machine, variety
from services.cpu_worker import engine, processor
from services.cpu_worker.backend import CpuBackend
from shared.chassis import compute
from shared.chassis.settings import CpuSettings
from shared.operators import catalog
from shared.sparse import candidates, choose, compressed, features
from shared.sparse.candidates import Candidate
from shared.sparse.choose import Choice, Question
from shared.sparse.features import Features
from shared.sparse.trials import Answer, Trial
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Layout, Tensor, dense

RESULTS = Path(__file__).parent / "results" / "choosing.json"
COLUMNS = (1, 8, 64)  # of x
TRIAL_ROUNDS, ROUNDS = 5, 15  # clean ones; the last are hindsight
TRIES = 50  # rounds of a matrix at most
SAMPLE_SECONDS = 2e-3  # of one sample: the median of as many calls as that takes
CALLS = range(3, 101)
CONVERSIONS = 3  # timed conversions
MICRO = 1e-6
USES = 100_000  # of a layer that is served
Call = Callable[[], object]
Case = Mapping[str, object]


def main() -> None:
    """Measure and write."""
    threadpoolctl.threadpool_limits(compute.BLAS_THREADS)
    started = engine.start(CpuSettings().cache)
    backend = CpuBackend(started)
    cases = [
        case
        for sample in variety.samples()
        for case in _measured(backend, sample, compressed.to_tensor(variety.make(sample)))
    ]
    found: dict[str, object] = {
        "machine": machine.facts(),
        "device": processor.device(),
        "driver": processor.driver(started),
        "threads": started.threads,
        "trial_rounds": TRIAL_ROUNDS,
        "cases": cases,
    }
    RESULTS.write_text(json.dumps(found, indent=None, separators=(",", ":")) + "\n")
    sys.stdout.write(summary(found))


def summary(found: Mapping[str, object]) -> str:
    """Regret over hindsight and dense, in words."""
    lines = []
    for uses in (1, USES):
        regrets = [regret(case, uses) for case in cases_of(found)]
        picked = [choice_of(case, uses).layout for case in cases_of(found)]
        counts = {str(layout): picked.count(layout) for layout in sorted(set(picked))}
        lines.append(
            f"{len(regrets)} cases, {uses} uses: {mean(regrets):.2%} over the best in hindsight, "
            f"worst {max(regrets):.2%}; chosen {counts}\n"
        )
    return "".join(lines)


def cases_of(found: Mapping[str, object]) -> list[Case]:
    """The recorded cases."""
    cases = found["cases"]
    assert isinstance(cases, list)
    return cases


def question_of(case: Case, uses: int) -> Question:
    """What is asked for a recorded case."""
    held = dict(_mapping(case, "features"))
    pairs = {name: tuple(value) for name, value in held.items() if isinstance(value, list)}
    columns = case["columns"]
    assert isinstance(columns, int)
    return Question(Features(**(held | pairs)), columns, uses)


def choice_of(case: Case, uses: int) -> Choice:
    """What would have been chosen, from the trial's rounds."""
    return choose.layout(
        question_of(case, uses), lambda one: trial_of(case, one), device="", driver=""
    )


def trial_of(case: Case, candidate: Candidate) -> Answer:
    """What a trial of a candidate would have told: its best round, as neighbours only add."""
    held = _mapping(case, "times")[candidate.name]
    return Trial(MICRO * min(held["samples_us"][:TRIAL_ROUNDS]), held["conversion_s"])


def hindsight(case: Case, uses: int) -> dict[str, float]:
    """Total seconds of every candidate by name, from the rounds that no trial saw."""
    return {
        name: held["conversion_s"] + uses * MICRO * median(held["samples_us"][TRIAL_ROUNDS:])
        for name, held in _mapping(case, "times").items()
    }


def regret(case: Case, uses: int) -> float:
    """What the choice costs over the best, as a share of that."""
    totals = hindsight(case, uses)
    return totals[choice_of(case, uses).candidate.name] / min(totals.values()) - 1.0


def _mapping(case: Case, key: str) -> Mapping[str, dict]:
    held = case[key]
    assert isinstance(held, Mapping)
    return held


def _measured(backend: CpuBackend, sample: variety.Sample, matrix: Tensor) -> list[Case]:
    """A case for every number of columns."""
    seen = features.of(compressed.from_tensor(matrix))
    fitting = candidates.fitting(seen)
    made = {candidate: _converted(matrix, candidate) for candidate in fitting}
    cases = []
    for columns in COLUMNS:
        problem = _problem(matrix, columns)
        calls = {one: _call(backend, weight, problem) for one, (weight, _) in made.items()}
        samples = _rounds(list(calls.values()))
        cases.append(
            {
                "matrix": sample.name,
                "seed": sample.seed,
                "columns": columns,
                "features": asdict(seen),
                "times": {
                    one.name: {"conversion_s": made[one][1], "samples_us": taken}
                    for one, taken in zip(calls, samples, strict=True)
                },
            }
        )
    return cases


def _converted(matrix: Tensor, candidate: Candidate) -> tuple[Tensor, float]:
    """The matrix in another layout, and the median seconds that it took to make."""
    taken = []
    made = matrix
    for _ in range(CONVERSIONS):
        started = time.perf_counter()
        made = candidates.laid_out(matrix, candidate)
        taken.append(time.perf_counter() - started)
    return made, _short(median(taken))


def _problem(matrix: Tensor, columns: int) -> tuple[F32, F32]:
    """x (columns, cols), and what its product with the matrix is."""
    rng = np.random.default_rng(columns)
    x: F32 = rng.standard_normal((columns, matrix.shape[1]), dtype=np.float32)
    whole = compressed.to_scipy(compressed.from_tensor(matrix))
    return x, (whole @ x.T).T


def _call(backend: CpuBackend, weight: Tensor, problem: tuple[F32, F32]) -> Call:
    """One product with everything resident, checked once."""
    x, expected = problem
    plain = weight.layout is Layout.DENSE
    spec = catalog.spec("gemm_f32" if plain else f"spmm_{weight.layout}")
    attributes = {} if plain else {"batch_first": True}
    inputs = {"weight": backend.upload(weight), "x": backend.upload(dense(x))}

    def call() -> object:
        return backend.run(spec, inputs, attributes)

    y = backend.download(backend.run(spec, inputs, attributes)["y"]).values
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-2)
    return call


def _rounds(calls: Sequence[Call]) -> list[list[float]]:
    """Microseconds of each call in clean rounds over all of them, after one that only warms up.

    Raises:
        RuntimeError: neighbours left no clean round.
    """
    counts = [_affordable(_seconds(call, CALLS.start)) for call in calls]
    kept: list[list[float]] = []
    for _ in range(TRIES):
        with machine.watching_steal() as steal:
            taken = [_seconds(call, count) for call, count in zip(calls, counts, strict=True)]
        if steal.clean:
            kept.append(taken)
        if len(kept) == ROUNDS:
            return [[_short(each / MICRO) for each in column] for column in zip(*kept, strict=True)]
    raise RuntimeError(f"{len(kept)} of {TRIES} rounds were free of steal, {ROUNDS} are needed")


def _affordable(seconds: float) -> int:
    return min(max(int(SAMPLE_SECONDS / max(seconds, 1e-7)), CALLS.start), CALLS.stop - 1)


def _seconds(call: Call, count: int) -> float:
    """Median seconds of one call; the first of all is not counted."""
    call()
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return median(taken)


def _short(time_: float) -> float:
    """Four digits: no clock here gives more."""
    return float(f"{time_:.4g}")


if __name__ == "__main__":
    main()
