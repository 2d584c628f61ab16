"""A recurrent network of 10,000 neurons with 1,000 synapses each, beside Brian2:

    python -m ops.bench.brunel

Excitatory and inhibitory neurons, random synapses with one delay, and sources of random spikes that
hold the network in irregular activity, after Brunel 2000, "Dynamics of sparsely connected networks
of excitatory and inhibitory spiking neurons"; without a refractory period, and with sources that
neurons have in common. Every side draws synapses and spikes of its own, on one thread; a run is
what its own clock says of its steps, without building. The results go to ops/bench/results.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from ops.bench import machine, rivals, turns
from ops.bench.turns import Contender, Side

RESULTS = Path(__file__).parent / "results" / "brunel.json"
PACKAGES = ("numpy==1.26.4", "setuptools==80.9.0", "brian2==2.9.0")
ROUNDS, TRIES = 7, 21
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Model:
    """The network; [s], [V], [Hz]."""

    excitatory: int = 8000
    inhibitory: int = 2000
    share: float = 0.1  # of pairs of neurons that have a synapse
    sources: int = 1000
    rate: float = 50.0  # of each source
    dt: float = 1e-4
    delay: float = 1.5e-3
    tau: float = 0.02
    threshold: float = 0.02
    reset: float = 0.01
    excites: float = 1e-4  # potential per spike
    inhibits: float = -5e-4
    source_excites: float = 4e-4
    steps: int = 2000  # of a run

    @property
    def neurons(self) -> int:
        """All of them."""
        return self.excitatory + self.inhibitory


class Samples:
    """What one side said of its runs."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.rates: list[float] = []  # [Hz] of all neurons
        self.steal: list[float] = []

    def take(self, contender: Contender) -> None:
        """One run, which counts if neighbours left it alone."""
        with machine.watching_steal() as steal:
            said = contender.ask(do="run")
        assert isinstance(said, Mapping)
        self.steal.append(round(steal.share, 3))
        if steal.clean:
            self.seconds.append(float(said["seconds"]))
            self.rates.append(float(said["rate"]))


def sides(folder: Path) -> list[Side]:
    """Ours, and the rivals' in their own environment."""
    python = str(rivals.environment("brunel", PACKAGES) / "python")
    return [
        Side("ours", [sys.executable, "-m", "ops.bench.brunel_network"], THREADS),
        Side("brian2", [python, "-m", "ops.bench.peers.brunel_brian2", str(folder)], THREADS),
    ]


def measured(model: Model) -> dict[str, object]:
    """All sides in turns, after a run of each that does not count."""
    found: dict[str, Samples] = {}
    with turns.running(sides(rivals.FOLDER / "brunel-build")) as contenders:
        about = {held.side.name: held.ask(do="build", model=asdict(model)) for held in contenders}
        for contender in contenders:
            contender.ask(do="run")
            found[contender.side.name] = Samples()
        for _ in range(TRIES):
            for contender in contenders:
                if len(found[contender.side.name].seconds) < ROUNDS:
                    found[contender.side.name].take(contender)
    results = {name: vars(samples) for name, samples in found.items()}
    return {
        "machine": machine.facts(),
        "sides": about,
        "model": asdict(model),
        "results": results,
    }


def table(found: Mapping[str, object]) -> str:
    """A row for each side."""
    results, about, steps = found["results"], found["sides"], found["model"]["steps"]  # type: ignore[index]
    best = median(results["ours"]["seconds"])
    lines = [
        "| side | steps per second | ours is faster by | mean rate [Hz] |",
        "| --- " + "| ---: " * 3 + "|",
    ]
    for name, held in results.items():
        seconds = median(held["seconds"])
        lines.append(
            f"| {about[name]['version']} | {steps / seconds:,.0f} | {seconds / best:.2f} x | "
            f"{median(held['rates']):.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write the results and show them."""
    found = measured(Model())
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write(table(found))


if __name__ == "__main__":
    main()
