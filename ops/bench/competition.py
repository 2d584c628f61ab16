"""What neurons learn of digits without a label, by competition and STDP, over ten seeds.

``python -m ops.bench.competition`` shows scikit-learn's digits to 400 neurons on the CPU backend,
writes results/competition.json, the page made from it, and a picture of what the neurons of the
first seed have become. One setting for all seeds; the held-out scans choose nothing.
"""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np

from ops.bench import faithful_table, figures, machine
from ops.bench.figures import shown
from ops.demo import digits
from ops.demo.digits import Digits
from ops.report import pictures
from ops.report.pictures import plt
from services.cpu_worker import engine
from services.cpu_worker.backend import CpuBackend
from shared.chassis.settings import CpuSettings
from shared.network import execute
from shared.network.graph import Network
from shared.network.training import backward, competitive, voting
from shared.network.training.competitive import I64, Competitive, Learned
from shared.operators.spec import Backend
from shared.tensors.layouts import dense

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "competition.json"
PAGE = HERE.parent / "docs" / "competition.md"
PICTURE = HERE.parent / "docs" / "pictures" / "receptive-fields.png"
SEEDS, CLASSES, GOAL = range(10), 10, 85.0
PLAN = Competitive()
ACROSS, DOWN = 20, 5  # neurons on the picture
HEAD = (
    "# Digits without a label\n\n"
    f"`python -m ops.bench.competition`: {PLAN.neurons} neurons are shown scikit-learn's digits, "
    f"1,437 scans, {PLAN.epochs} times each for {PLAN.steps} steps of random spikes; at most one "
    "neuron fires in a step. It strengthens the synapses whose inputs spiked lately and weakens "
    "the others, takes potential from its rivals, and its threshold rises; after every scan all "
    "weights of a neuron are scaled to one sum (after Diehl & Cook 2015). Labels only say at the "
    "end which class a neuron answered most. 360 scans are held out, split anew for every seed."
)
TAIL = (
    "![Weights of 100 of the 400 neurons, sorted by the class that they stand for]"
    "(pictures/receptive-fields.png)\n\n"
    "What was learned is a network like any other: `mul`, `rate_encode`, `plastic_layer`, "
    "`spike_rate`, `gemm_f32`; `shared/network/training/voting.py` makes it. Its neurons "
    "compete for one row at a time, so it takes rows one by one. The same layer learns online in a "
    "session, see [sessions.md](sessions.md)."
)
JOB = """## As a job

On a stack (`ellesmere up`), with the `rows.npz` and `x.npy` of [compressing.md](compressing.md);
the outputs are of one run:

    ellesmere train eyes --data rows.npz --method stdp --neurons 100

    variant  neurons  idle  shown  bytes   accuracy  95 %                          spikes
    trained  100      0     5,748  30,004  90.00%    86.47% to 92.69% on 360 rows  layer 5.8 a row

`train_x`, (rows, inputs) float32 from 0 to 1, is shown; `train_labels` come in when all is learned.
`x` and `labels`, if they are there, are held out and judged. No model `eyes` exists, so the job
makes one, with the inputs of the rows and the classes of the labels; neurons that answer no row are
`idle` and stand for nothing. `--epochs` (4), `--steps` that a row is shown (50) and `--seed` may be
told. The same job makes the same artifact, bit by bit, on a CPU or through OpenCL, also when a
worker dies in it.

    ellesmere infer eyes --input x.npy --output scores.npz

sends the rows one by one, as any client of the protocol does with the shape [1, 64]. The answers
are those that were judged, bit by bit; the job's result holds them too, as `scores` (`ellesmere job
result`).

    ellesmere train eyes --data rows.npz --method stdp --seed 1 --as further

goes on from the model's first variant, here `trained`, risen thresholds included, and adds a
variant; with `--fresh` it begins with new weights. A network of your own learns in the same way:
the steps above in a file of ours (as `artifact.pack` or `ellesmere model export eyes --output
mine.safetensors` writes it), brought in by `ellesmere model add mine mine.safetensors`.

Every constant of the rule ([`Stdp` in
shared/contracts/v1/training.py](../../shared/contracts/v1/training.py)) may be set in the body of
the job, which is the same over gRPC and on NATS, with the four tensors beside it. With this one in
`few.json`

```json
{"kind": "train", "model": "few", "method": "stdp", "variant": "first", "epochs": 4, "seed": 7,
 "stdp": {"neurons": 60, "steps": 40, "theta_plus": 0.05}}
```

    ellesmere submit few.json --tensors rows.npz --wait

makes a model of 60 neurons. A job may have 16,384 neurons, 10,000 steps a row, 16,777,216
synapses and 10,000,000 showings; what gradients need (`rate`, `batch`, `sparse`, …) is refused."""


def main() -> None:
    """Measure, write, draw, and make the page."""
    backend = CpuBackend(engine.start(CpuSettings().cache))
    found: dict[str, object] = {"machine": machine.facts(), "plan": asdict(PLAN)}
    seeds = found.setdefault("seeds", {})
    assert isinstance(seeds, dict)
    for seed in SEEDS:
        data = digits.load(seed=seed)
        seeds[str(seed)], learned, stands = of_seed(data, replace(PLAN, seed=seed), backend)
        sys.stdout.write(f"{seed} {seeds[str(seed)]}\n")
        if seed == SEEDS[0]:
            draw(learned, stands)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    PAGE.write_text(page(found))


def of_seed(
    data: Digits, plan: Competitive, backend: Backend
) -> tuple[dict[str, float], Learned, I64]:
    """Accuracy, seconds of training and spikes per scan; and what was learned."""
    run, began = backward.on(backend), time.perf_counter()
    learned = competitive.fit(data.x, plan, run)
    seconds = time.perf_counter() - began
    answers = competitive.responses(learned, data.x, plan, run)
    stands = competitive.standing(answers, data.labels, CLASSES)
    network = voting.network(learned, stands, CLASSES, plan)
    found = {
        "accuracy": accuracy(network, data, backend),
        "seconds": seconds,
        "spikes": float(answers.sum(axis=1).mean() * plan.steps),
        "idle": float((answers.sum(axis=0) == 0).mean()),
    }
    return found, learned, stands


def accuracy(network: Network, data: Digits, backend: Backend) -> float:
    """Share of held-out scans whose largest score is at their label."""
    loaded = execute.load(network, backend)
    try:
        rows = (dense(row[np.newaxis]) for row in data.held_x)
        scores = [loaded.run({"x": row})["scores"].values for row in rows]
    finally:
        loaded.close()
    return float((np.concatenate(scores).argmax(axis=1) == data.held_labels).mean())


def draw(learned: Learned, stands: I64) -> None:
    """Weights of neurons as images, ten of every class."""
    side = int(np.sqrt(learned.weight.shape[1]))
    order = np.argsort(stands, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, ACROSS * DOWN).round().astype(int)]
    with mpl.rc_context(pictures.STYLE | {"axes.grid": False}):
        figure, every = plt.subplots(DOWN, ACROSS, figsize=(10, 2.9))
        for axes, neuron in zip(every.ravel(), chosen, strict=True):
            axes.imshow(learned.weight[neuron].reshape(side, side), cmap="Greys", vmin=0)
            axes.set_title(str(stands[neuron]), fontsize=7, pad=1.5)
            axes.set_axis_off()
        pictures.save(figure, PICTURE)


def page(found: Mapping[str, object]) -> str:
    """Means with intervals."""
    seeds, about = found["seeds"], found["machine"]
    assert isinstance(seeds, Mapping)
    assert isinstance(about, Mapping)
    points = faithful_table.interval(faithful_table.points(seeds, "accuracy"))
    rows = [
        ["over ten seeds", "mean ± 95 % interval"],
        ["accuracy on held-out scans [%]", shown(points)],
    ]
    for name, key, unit in (
        ("spikes of all neurons per scan", "spikes", 1.0),
        ("neurons that never answer [%]", "idle", 100.0),
        ("seconds of training", "seconds", 1.0),
    ):
        told = [float(one[key]) * unit for one in seeds.values()]
        rows.append([name, shown(faithful_table.interval(told))])
    held = points[0] - points[1] >= GOAL
    goal = f"The interval lies {'above' if held else 'not wholly above'} the goal of {GOAL:.0f} %."
    return (
        f"{HEAD}\n\n{figures.markdown(rows)}\n\n{goal}\n\n{TAIL}\n\n{JOB}\n\n{about['cpu']}, "
        f"{about['cores']} cores, commit {about['commit']}, {str(about['date'])[:10]}. Every seed: "
        "[ops/bench/results/competition.json](../../ops/bench/results/competition.json). A test "
        "compares this page with them.\n"
    )


if __name__ == "__main__":
    main()
