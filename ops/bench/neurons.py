"""What the models of neurons do, as pictures: ``python -m ops.bench.neurons`` draws all of them.

The pictures go to ops/docs/pictures/neurons-*.png; ops/docs/neurons.md shows them.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from ops.bench import codes
from ops.report import pictures, spiking_pictures
from ops.report.pictures import COLORS, plt
from shared.spiking import (
    adaptive_lif,
    coding,
    cuba_lif,
    integrate_and_fire,
    izhikevich,
    leaky_integrator,
    lif,
    population,
)
from shared.spiking.adaptive_lif import AlifParams
from shared.spiking.cuba_lif import CubaParams
from shared.spiking.integrate_and_fire import IfParams
from shared.spiking.izhikevich import IzhikevichParams
from shared.spiking.leaky_integrator import LiParams
from shared.spiking.lif import LifParams
from shared.tensors.dtypes import F32

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
DT = 1e-4  # [s]
NANO, MILLI = 1e-9, 1e-3
LIF = LifParams(0.02, 1e8, v_rest=-0.07, v_threshold=-0.05, v_reset=-0.065, t_refractory=2e-3)
CUBA = CubaParams(5e-3, 0.02, 1e8, -0.07, -0.05, -0.065, t_refractory=2e-3)
ALIF = AlifParams(0.02, 1e8, -0.07, -0.05, -0.065, 0.1, 4e-3, t_refractory=2e-3)
IF = IfParams(2e-10, v_threshold=-0.05, v_reset=-0.065, t_refractory=2e-3)
REGULAR, CHATTERING = IzhikevichParams(), IzhikevichParams(c=-0.05, d=2.0)


class Model(NamedTuple):
    """What it takes to run a model."""

    step: Callable[..., Any]
    start: Callable[..., Any]
    params: Any

    def run(self, current: F32, *, dt: float = DT) -> population.Ran[Any]:
        """Neurons from their beginning under currents (steps, neurons) [A]."""
        start = self.start(current.shape[1:], self.params)
        return population.run(self.step, start, current, self.params, dt=dt)


MODELS = {
    "IF: nothing leaks": Model(integrate_and_fire.step, integrate_and_fire.after_reset, IF),
    "LI: no threshold": Model(
        leaky_integrator.step, leaky_integrator.at_rest, LiParams(0.02, 1e8, -0.07)
    ),
    "LIF": Model(lif.step, lif.at_rest, LIF),
    "LIF, reset by subtraction": Model(
        lif.step, lif.at_rest, replace(LIF, reset="subtract", t_refractory=0.0)
    ),
    "CuBa-LIF: a synapse filters": Model(cuba_lif.step, cuba_lif.at_rest, CUBA),
    "ALIF: spikes lift the threshold": Model(adaptive_lif.step, adaptive_lif.at_rest, ALIF),
    "Izhikevich, regular spiking": Model(izhikevich.step, izhikevich.after_reset, REGULAR),
    "Izhikevich, chattering": Model(izhikevich.step, izhikevich.after_reset, CHATTERING),
}


def main(folder: Path = FOLDER) -> list[Path]:
    """Draw every picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(pictures.STYLE | {"font.size": 9}):
        return [pictures.save(figure(), folder / name) for name, figure in drawn().items()]


def drawn() -> dict[str, Callable[[], plt.Figure]]:
    """Every picture by the name of its file."""
    return {
        "neurons-membranes.png": membranes,
        "neurons-rates.png": rates,
        "neurons-codes.png": codes.trains,
        "neurons-decoding.png": codes.decoding,
    }


def membranes() -> plt.Figure:
    """Every model under the same current, which is there from 20 to 170 ms."""
    steps = 2000
    current = np.zeros((steps, 1), np.float32)
    current[200:1700] = 0.4 * NANO
    figure, grid = plt.subplots(4, 2, figsize=(9.5, 7.6), sharex=True, layout="constrained")
    times = np.arange(steps) * DT / MILLI
    for axes, (name, model) in zip(grid.T.flat, MODELS.items(), strict=True):
        strong = 2.5 if "Izhikevich" in name else 1.0
        v, spikes, threshold = traced(model, current * np.float32(strong))
        spiking_pictures.traces(axes, times, v / MILLI, threshold=threshold, spikes=spikes)
        spiking_pictures.quiet(axes, name)
        axes.axvspan(20, 170, color="#eceff4", zorder=0, linewidth=0)
        axes.margins(x=0, y=0.12)
        axes.set_xticks(range(0, 201, 50))
    for axes in grid[:, 0]:
        axes.set_ylabel("v [mV]")
    for axes in grid[-1]:
        axes.set_xlabel("time [ms]")
    return figure


def traced(model: Model, current: F32) -> tuple[F32, F32, F32 | float | None]:
    """Potentials [V] and spikes of one neuron, and its threshold over time [mV]."""
    if not isinstance(model.params, AlifParams):
        ran = model.run(current)
        limit = getattr(model.params, "v_threshold", None)
        return ran.v[:, 0], ran.spikes[:, 0], None if limit is None else limit / MILLI
    state, made = model.start((1,), model.params), []
    for step in current:
        state, spikes = model.step(state, step, model.params, dt=DT)
        made.append((state.v[0], spikes[0], model.params.v_threshold + state.a[0]))
    v, spikes, limit = np.array(made, np.float32).T
    return v, spikes, limit / np.float32(MILLI)


def rates() -> plt.Figure:
    """Rates over constant currents, and of a population under currents that fluctuate."""
    figure, (curves, spread, counts) = plt.subplots(
        1, 3, figsize=(10.5, 3.2), layout="constrained", width_ratios=(1.25, 1.25, 1)
    )
    amperes = np.linspace(0.0, 1.2, 41)
    for color, (name, model, closed) in zip(COLORS[1:], responses(amperes), strict=False):
        found = settled(model, (amperes * NANO).astype(np.float32))
        spiking_pictures.response(curves, amperes, found, color=color, label=name, closed=closed)
    curves.set(xlabel="current [nA]", ylabel="rate [Hz]", xlim=(0, 1.2))
    curves.legend(frameon=False, fontsize=8)
    curves.set_title("dots: simulated; lines: closed formula", fontsize=9.5, loc="left")
    spikes = fluctuating(neurons=300, steps=10_000)
    times = np.arange(3000) * DT / MILLI
    spiking_pictures.raster(spread, times, spikes[:3000, :50])
    spiking_pictures.quiet(spread, "50 of 300 CuBa-LIF neurons under noise")
    spread.set(xlabel="time [ms]", ylabel="neuron", xlim=(0, 300), ylim=(-1, 50))
    spiking_pictures.histogram(counts, coding.mean_rate(spikes, dt=DT))
    counts.set_title("their rates over 1 s", fontsize=9.5, loc="left")
    return figure


Closed = npt.NDArray[np.float64] | None


def responses(amperes: npt.NDArray[np.float64]) -> list[tuple[str, Model, Closed]]:
    """Models whose f-I curve is drawn, with the closed formula where there is one."""
    fast = replace(LIF, t_refractory=0.0)
    return [
        ("LIF", Model(lif.step, lif.at_rest, fast), closed_rate(amperes * NANO, fast)),
        ("LIF, 2 ms refractory", MODELS["LIF"], closed_rate(amperes * NANO, LIF)),
        ("IF, 2 ms refractory", MODELS["IF: nothing leaks"], charged_rate(amperes * NANO, IF)),
        ("ALIF, settled", MODELS["ALIF: spikes lift the threshold"], None),
        ("Izhikevich, regular", MODELS["Izhikevich, regular spiking"], None),
    ]


def closed_rate(current: npt.NDArray[np.float64], params: LifParams) -> npt.NDArray[np.float64]:
    """The rate of a leaky neuron under constant currents (points,) [A]: (points,) [Hz].

    Source: Gerstner et al., "Neuronal Dynamics", 2014, section 1.3.4 with a refractory period.
    """
    driven = params.resistance * current
    reset, threshold = params.v_reset - params.v_rest, params.v_threshold - params.v_rest
    above, period = driven > threshold, np.full(driven.shape, np.inf)
    over = driven[above]
    period[above] = params.tau_mem * np.log((over - reset) / (over - threshold))
    return 1.0 / (params.t_refractory + period)


def charged_rate(current: npt.NDArray[np.float64], params: IfParams) -> npt.NDArray[np.float64]:
    """The rate of a neuron that does not leak, under currents (points,) [A]: (points,) [Hz]."""
    charge = params.capacitance * (params.v_threshold - params.v_reset)
    return current / (params.t_refractory * current + charge)


def settled(model: Model, current: F32) -> npt.NDArray[np.float64]:
    """The rate of neurons under constant currents (points,), after 0.4 s: (points,) [Hz]."""
    steps, dt = 40_000, 2e-5
    spikes = model.run(np.tile(current, (steps, 1)), dt=dt).spikes[steps // 2 :]
    return np.array([_rate(np.flatnonzero(column) * dt) for column in spikes.T])


def _rate(times: npt.NDArray[np.float64]) -> float:
    return float((len(times) - 1) / (times[-1] - times[0])) if len(times) > 1 else 0.0


def fluctuating(*, neurons: int, steps: int) -> F32:
    """Spikes (steps, neurons) of leaky neurons under noise through synapses of 5 ms."""
    rng = np.random.default_rng(580)
    mean = rng.normal(0.19, 0.03, neurons)
    noise = rng.standard_normal((steps, neurons))
    current = ((mean + noise) * NANO).astype(np.float32)
    return Model(cuba_lif.step, cuba_lif.at_rest, CUBA).run(current).spikes


if __name__ == "__main__":
    main()
