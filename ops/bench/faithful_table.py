"""The page of the faithfulness benchmark: means over seeds, intervals, and what did not hold."""

import json
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

from scipy import stats

from ops.bench import figures

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "faithfulness.json"
PAGE = HERE.parent / "docs" / "faithfulness.md"
Seeds = Mapping[str, Mapping[str, object]]
ORDERS = (("rigl", "set"), ("set", "static"))
SPARSITIES = ("95%", "98%")
ROWS = ("dense", "gradual 90%", "int8", "int8 static", "int4 nearest", "int4 gptq")
BOUNDS = (("gradual 90%", 1.0), ("int8", 0.3), ("int8 static", 0.3), ("int4 gptq", 1.0))  # points
METHODS = ("static", "set", "rigl", "dsr")
RULES = ("min-max", "percentile", "mse", "entropy")


def page(found: Mapping[str, object]) -> str:
    """Accuracies, differences within seeds, calibration errors, sizes and the cost of training."""
    seeds = _mapping(found["seeds"])
    ratios = _mapping(found["ratios"])
    parts = [
        f"Accuracy on held-out digits [%], mean over {len(seeds)} seeds with its 95 % interval; "
        "every seed splits the scans anew and draws other weights:",
        _accuracies(seeds),
        "Differences within a seed [points], so that hard splits do not count; an interval that "
        "holds zero shows no order:",
        _differences(seeds),
        "Mean squared error of the middle 99 % of a heavy-tailed activation (Student's t, two "
        "degrees of freedom) by the rule that sets the range, mean over seeds:",
        _tails(seeds),
        "Products of GPTQ's 4-bit layers with the observed inputs: squared error over that of "
        "rounding to nearest, mean over seeds:",
        _solved(seeds),
        "A 1024 × 1024 weight of 90 % zeros in layouts that products read, times smaller than "
        "dense float32:",
        _layouts(_mapping(ratios["layouts"])),
        "Training 784-1024-1024-10 with rows of 128, one thread of BLAS: over dense training; a "
        "step is the mean, updates included, peak is what Python allocates in eleven steps:",
        _training(_mapping(ratios["training"])),
    ]
    return "\n\n".join(parts)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and half of its 95 % interval by Student's t."""
    if len(values) < 2:
        return mean(values), float("inf")
    quantile = float(stats.t.ppf(0.975, len(values) - 1))
    return mean(values), quantile * stdev(values) / sqrt(len(values))


def points(seeds: Seeds, name: str) -> list[float]:
    """Accuracies of a method [%], in the order of the seeds."""
    return [100 * _number(seeds[seed][name]) for seed in sorted(seeds, key=int)]


def difference(seeds: Seeds, better: str, other: str) -> tuple[float, float]:
    """Mean difference within a seed [points], and half of its interval."""
    pairs = zip(points(seeds, better), points(seeds, other), strict=True)
    return interval([one - two for one, two in pairs])


def _accuracies(seeds: Seeds) -> str:
    rows = [["", "accuracy"]]
    rows += [[name, _shown(*interval(points(seeds, name)))] for name in ROWS]
    wide = [["zeros", *METHODS]]
    for share in SPARSITIES:
        cells = [_shown(*interval(points(seeds, f"{method} {share}"))) for method in METHODS]
        wide.append([share, *cells])
    return f"{figures.markdown(rows)}\n\n{figures.markdown(wide)}"


def _differences(seeds: Seeds) -> str:
    rows = [["", "difference", "expected", "shown"]]
    for share in SPARSITIES:
        for better, other in ORDERS:
            told = difference(seeds, f"{better} {share}", f"{other} {share}")
            rows.append([f"{better} − {other} at {share}", _shown(*told), "≥ 0", _order(told)])
    for name, limit in BOUNDS:
        told = difference(seeds, name, "dense")
        held = "yes" if told[0] - told[1] >= -limit else "no" if told[0] < -limit else "on average"
        rows.append([f"{name} − dense", _shown(*told), f"≥ −{limit:g}", held])
    told = difference(seeds, "int4 gptq", "int4 nearest")
    rows.append(["int4 gptq − int4 nearest", _shown(*told), "≥ 0", _order(told)])
    return figures.markdown(rows)


def _order(told: tuple[float, float]) -> str:
    """What a difference and its interval show."""
    middle, half = told
    if middle - half > 0:
        return "yes"
    if middle + half < 0:
        return "the other way round"
    return (
        "on average, not beyond chance" if middle >= 0 else "no: the mean is below, within chance"
    )


def _tails(seeds: Seeds) -> str:
    rows = [["", *RULES]]
    for bits in ("8 bits", "4 bits"):
        cells = []
        for rule in RULES:
            errors = [
                _number(_mapping(_mapping(s["heavy tail"])[bits])[rule]) for s in seeds.values()
            ]
            cells.append(f"{mean(errors):.3g}")
        rows.append([bits, *cells])
    return figures.markdown(rows)


def _solved(seeds: Seeds) -> str:
    layers = _mapping(next(iter(seeds.values()))["int4 error"])
    errors = [
        f"{mean(_number(_mapping(s['int4 error'])[layer]) for s in seeds.values()):.3f}"
        for layer in layers
    ]
    return figures.markdown([[*layers], errors])


def _layouts(found: Mapping[str, object]) -> str:
    return figures.markdown([[*found], [f"{_number(ratio):.1f}" for ratio in found.values()]])


def _training(found: Mapping[str, object]) -> str:
    dense = _mapping(found["dense"])
    rows = [["", "time of a step", "peak memory", "weights and optimiser"]]
    for name, held in found.items():
        cells = [
            f"{_number(_mapping(held)[key]) / _number(dense[key]):.2f}"
            for key in ("mean_step_s", "peak", "state")
        ]
        rows.append([name, *cells])
    return figures.markdown(rows)


def _shown(middle: float, half: float) -> str:
    return f"{middle:.2f} ± {half:.2f}"


def _mapping(value: object) -> Mapping[str, dict]:  # type: ignore[type-arg]  # JSON
    assert isinstance(value, Mapping)
    return value


def _number(value: object) -> float:
    assert isinstance(value, int | float)
    return float(value)


HEAD = (
    "# What compression keeps of the accuracy\n\n"
    "`python -m ops.bench.faithfulness`: classifiers 64-256-256-10 of scikit-learn's digits (1,437 "
    "scans to learn from, 360 held out), 60 epochs of Adam, layers share their zeros by ERK and "
    "move weights every 25 steps until three quarters of the run. Nothing is chosen by its result: "
    "one setting for all methods and seeds."
)


def whole() -> str:
    """The page with its head and its source."""
    found = json.loads(RESULTS.read_text())
    facts = found["machine"]
    source = (
        f"{facts['cpu']}, {facts['cores']} cores, commit {facts['commit']}, {facts['date']}. Every "
        "seed's figures: [ops/bench/results/faithfulness.json]"
        "(../../ops/bench/results/faithfulness.json). This page is printed by "
        "`python -m ops.bench.faithful_table`; a test compares."
    )
    return f"{HEAD}\n\n{page(found)}\n\n{source}\n"


if __name__ == "__main__":
    PAGE.write_text(whole())
