"""What the rules of plasticity do, as pictures: ``python -m ops.bench.plasticity`` draws them.

The pictures go to ops/docs/pictures/plasticity-*.png; ops/docs/plasticity.md shows them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import exp
from pathlib import Path

import matplotlib as mpl
import numpy as np

from ops.bench import learning_neurons
from ops.bench.neurons import FOLDER
from ops.report import pictures, spiking_pictures
from ops.report.pictures import COLORS, Axes, plt
from shared.spiking import delays, reward, stdp, triplet
from shared.spiking.delays import DelayParams
from shared.spiking.reward import RewardParams
from shared.spiking.stdp import StdpParams, StdpState
from shared.spiking.triplet import TripletParams
from shared.tensors.dtypes import F32

DT, MILLI = 1e-3, 1e-3  # [s]
APART = (-80, -60, -45, -30, -20, -12, -6, -2, 2, 6, 12, 20, 30, 45, 60, 80)  # [ms]
WINDOW = StdpParams(0.010, 0.006, tau_plus=0.017, tau_minus=0.034, w_min=-1.0)
CORTEX = replace(triplet.VISUAL_CORTEX, w_min=-9.0, w_max=9.0)
ONLY_PAIRS = replace(CORTEX, a2_plus=6.5e-3, a3_plus=0.0, a3_minus=0.0)
PAIRS = 60
HERTZ = (1, 2, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50)
REWARDED = RewardParams(replace(WINDOW, a_plus=0.1), tau_eligibility=1.0, tau_dopamine=0.2)


def main(folder: Path = FOLDER) -> list[Path]:
    """Draw every picture."""
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(pictures.STYLE | {"font.size": 9}):
        return [pictures.save(figure(), folder / name) for name, figure in drawn().items()]


def drawn() -> dict[str, Callable[[], plt.Figure]]:
    """Every picture by the name of its file."""
    return {"plasticity-rules.png": rules, "plasticity-over-time.png": over_time}


def rules() -> plt.Figure:
    """The window of pairs, triplets over rates, and where weights end between bounds."""
    figure, (window, rates, ends) = plt.subplots(1, 3, figsize=(10.5, 3.2), layout="constrained")
    _window(window)
    _rates(rates)
    late = np.array(learning_neurons.LATE.delays[: learning_neurons.SHARING]) / MILLI
    for softness, color in ((0.0, 1), (1.0, 2)):
        weight = learning_neurons.settled(softness=softness)[: len(late)]
        label = "soft bounds" if softness else "hard bounds"
        ends.plot(late, weight, "o", color=COLORS[color], markersize=3.5, label=label)
    ends.set(xlabel="delay of the input [ms]", ylabel="weight after 100 s", ylim=(0, 1.02))
    ends.set_title("inputs that share a source", fontsize=9.5, loc="left")
    ends.legend(frameon=False, fontsize=8)
    return figure


def _rates(axes: Axes) -> None:
    """Triplets as lines, pairs dotted."""
    for apart, name, color in ((10, "pre first", 3), (-10, "post first", 2)):
        for params, kind, style in ((CORTEX, "triplets", "o-"), (ONLY_PAIRS, "pairs", ":")):
            found = [frequent(hertz, apart, params) for hertz in HERTZ]
            label = f"{kind}, {name}"
            axes.plot(HERTZ, found, style, color=COLORS[color], markersize=3.5, label=label)
    axes.axhline(0, color=COLORS[0], linewidth=0.8)
    axes.set(xlabel="pairings per second [Hz]", ylabel=f"change by {PAIRS} pairings")
    axes.set_title("spikes 10 ms apart", fontsize=9.5, loc="left")
    axes.legend(frameon=False, fontsize=7.5)


def _window(axes: Axes) -> None:
    """Simulated pairs as dots, the definition as a line."""
    line = np.concatenate([np.linspace(-80, -0.01, 200), np.linspace(0.01, 80, 200)])
    formula = [defined(apart * MILLI) for apart in line]
    for half in (slice(None, 200), slice(200, None)):
        axes.plot(line[half], formula[half], color=COLORS[1], linewidth=1.0)
    axes.plot(APART, [paired(apart) for apart in APART], "o", color=COLORS[1], markersize=3.5)
    axes.axhline(0, color=COLORS[0], linewidth=0.8)
    axes.set(xlabel="neuron's spike after the input's [ms]", ylabel="change by one pair")
    axes.set_title("dots: simulated; lines: definition", fontsize=9.5, loc="left")


def defined(apart: float) -> float:
    """The window at a distance [s]; positive: the input spikes first."""
    if apart > 0:
        return WINDOW.a_plus * exp(-apart / WINDOW.tau_plus)
    return -WINDOW.a_minus * exp(apart / WINDOW.tau_minus)


def paired(apart: int) -> float:
    """How far one pair of spikes, so many steps apart, moves a weight by `WINDOW`."""
    none = np.zeros(1, np.float32)
    state = StdpState(np.zeros((1, 1), np.float32), none, none)
    for now in range(abs(apart) + 1):
        pre, post = (_spike(now == max(0, late)) for late in (-apart, apart))
        state = stdp.step(state, pre, post, WINDOW, dt=DT)
    return float(state.weight[0, 0])


def frequent(hertz: int, apart: int, params: TripletParams) -> float:
    """How far `PAIRS` pairings at a rate [Hz] move a weight, apart in steps as in `paired`."""
    every = round(1 / (hertz * DT))
    pre, post = ({at * every + max(0, late) for at in range(PAIRS)} for late in (-apart, apart))
    held, state = triplet.discretize(params, dt=DT), triplet.silent(np.zeros((1, 1), np.float32))
    for now in range(max(pre | post) + 1):
        state = triplet.advance(state, _spike(now in pre), _spike(now in post), held)
    return float(state.weight[0, 0])


def over_time() -> plt.Figure:
    """A reward that comes late, rates that are held, and spikes that arrive at once."""
    figure, (late, rates, axons) = plt.subplots(1, 3, figsize=(10.5, 3.2), layout="constrained")
    _late(late)
    times, found = learning_neurons.held()
    rates.plot(times, found, color=COLORS[1], linewidth=0.8, alpha=0.5)
    target = learning_neurons.HELD.target
    rates.axhline(target, color=COLORS[2], linewidth=1.0, linestyle=(0, (4, 3)))
    rates.set(xlabel="time [s]", ylabel="rate [Hz]", ylim=(0, None))
    spiking_pictures.quiet(rates, "20 neurons, their thresholds held to a rate")
    sent, arrived = under_way((0.012, 0.009, 0.006, 0.003, 0.0))
    for train, color in ((sent, COLORS[0]), (arrived, COLORS[1])):
        spiking_pictures.raster(axons, np.arange(len(train)), train, color=color)
    axons.set(xlabel="time [ms]", ylabel="input", xlim=(0, 40), yticks=range(5))
    spiking_pictures.quiet(axons, "grey: sent; blue: arrives after its delay")
    return figure


def _late(axes: Axes) -> None:
    """Two synapses, of which only one is eligible when the reward comes."""
    times, eligibility, dopamine, weight = waiting(pairs=(0.2, None), rewarded=0.8)
    axes.plot(times, eligibility[:, 0], color=COLORS[3], label="eligibility of the first")
    axes.plot(times, dopamine / 10, color=COLORS[2], label="dopamine [10/s]")
    for at, name in enumerate(("paired at 0.2 s", "not paired")):
        axes.plot(
            times, weight[:, at], color=COLORS[1], linestyle="-" if at == 0 else ":",
            label=f"weight, {name}",
        )  # fmt: skip
    axes.set(xlabel="time [s]", ylim=(0, None))
    axes.set_title("a reward 0.6 s after the pair", fontsize=9.5, loc="left")
    axes.legend(frameon=False, fontsize=7.5)


def waiting(
    *, pairs: Sequence[float | None], rewarded: float, seconds: float = 2.0
) -> tuple[F32, F32, F32, F32]:
    """Synapses of one neuron that spikes 5 ms after the input of those that are paired [s].

    Returns:
        (steps,) times [s], (steps, inputs) eligibility, (steps,) dopamine, (steps, inputs) weights.
    """
    held, steps = reward.discretize(REWARDED, dt=DT), round(seconds / DT)
    at = [-1 if when is None else round(when / DT) for when in pairs]
    state, made = reward.silent(np.full((1, len(pairs)), 0.2, np.float32)), []
    for now in range(steps):
        pre, post = np.array([now == one for one in at], np.float32), _spike(now - 5 in at)
        released = 5.0 if now == round(rewarded / DT) else 0.0
        state = reward.advance(state, pre, post, held, reward=released)
        made.append((state.eligibility[0], state.dopamine, state.weight[0]))
    eligibility, dopamine, weight = (np.array(part, np.float32) for part in zip(*made, strict=True))
    return (np.arange(steps) * DT).astype(np.float32), eligibility, dopamine, weight


def under_way(seconds: tuple[float, ...]) -> tuple[F32, F32]:
    """Inputs that send one spike each, so that all arrive at 20 ms by their delays [s].

    Returns:
        (steps, inputs) of 0 and 1: sent, and arriving.
    """
    params = DelayParams(seconds)
    sent = np.zeros((40, len(seconds)), np.float32)
    sent[20 - delays.discretize(params, dt=DT), np.arange(len(seconds))] = 1
    state, arrived = delays.empty(params, dt=DT), np.zeros_like(sent)
    for now, spikes in enumerate(sent):
        state, arrived[now] = delays.step(state, spikes, params, dt=DT)
    return sent, arrived


def _spike(now: bool) -> F32:
    return np.full(1, now, np.float32)


if __name__ == "__main__":
    main()
