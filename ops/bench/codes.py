"""How numbers become spikes and come back: figures for `ops.bench.neurons`."""

import numpy as np
import numpy.typing as npt

from ops.demo import digits
from ops.demo.digits import Training
from ops.report import spiking_pictures
from ops.report.pictures import COLORS, plt
from shared.spiking import (
    coding,
    events,
    integrate_and_fire,
    leaky_integrator,
    population,
    receptive,
    temporal,
)
from shared.spiking.events import Events
from shared.spiking.integrate_and_fire import IfParams
from shared.spiking.leaky_integrator import LiParams
from shared.spiking.receptive import Fields
from shared.tensors.dtypes import F32

DT = 1e-3  # [s]
STEPS = 48
LENGTHS = (4, 8, 16, 24, 32, 48, 64, 96, 128)
PERIOD = 8
COPIES = 5  # neurons of a class
CLASSIFIER = Training(sizes=(64, 10), epochs=150, penalty=0.0, rate=3e-3)
OWNERS: npt.NDArray[np.int64] = np.repeat(np.arange(10, dtype=np.int64), COPIES)
Trains = dict[str, F32]


def trains() -> plt.Figure:
    """The same 24 numbers in four codes; a number in a population, and a signal by its changes."""
    x = np.linspace(0, 1, 24).astype(np.float32)
    figure, grid = plt.subplots(2, 3, figsize=(10.5, 5), layout="constrained")
    times = np.arange(STEPS)
    for axes, (name, train) in zip(grid.flat, encoded(x, STEPS).items(), strict=False):
        spiking_pictures.raster(axes, times, train)
        spiking_pictures.quiet(axes, name)
        axes.set(xlim=(-1, STEPS), ylim=(-1, 24))
        axes.set_yticks([0, 23], ["0", "1"])
    _population(grid[1, 1])
    _changes(grid[1, 2])
    for axes in grid[1]:
        axes.set_xlabel("time step")
    return figure


def encoded(x: F32, steps: int) -> Trains:
    """Numbers (n,) of 0..1 in codes of whole steps; phases need whole periods."""
    rate, rng = x / np.float32(DT), np.random.default_rng(580)
    return {
        "Poisson rate": coding.poisson(rate, steps=steps, dt=DT, rng=rng),
        "regular rate": coding.regular(rate, steps=steps, dt=DT),
        "latency": temporal.latency(x, steps=steps),
        f"phase, {PERIOD} binary places": temporal.phase(
            x, period=min(PERIOD, steps), periods=max(steps // PERIOD, 1)
        ),
    }


def decoded(found: Trains) -> Trains:
    """What each code says it was told."""
    poisson, regular, latency, phase = found.values()
    told = (
        coding.mean_rate(poisson, dt=DT) * np.float32(DT),
        coding.mean_rate(regular, dt=DT) * np.float32(DT),
        temporal.of_latency(latency),
        temporal.of_phase(phase, period=min(PERIOD, len(phase))),
    )
    return dict(zip(found, told, strict=True))


def _population(axes: plt.Axes) -> None:
    """Two numbers, one after the other, as the rates of 16 receptive fields."""
    fields = Fields(0.0, 1.0, neurons=16)
    x = np.array([0.25, 0.7], np.float32)
    half = STEPS // 2
    train = np.concatenate([
        coding.regular(answer / np.float32(1.5 * DT), steps=half, dt=DT)
        for answer in receptive.answers(x, fields)
    ])  # fmt: skip
    spiking_pictures.raster(axes, np.arange(STEPS), train)
    told = [float(receptive.estimate(part, fields)) for part in np.split(train, 2)]
    spiking_pictures.quiet(axes, f"population: 0.25, 0.70; read as {told[0]:.2f}, {told[1]:.2f}")
    axes.axvline(half - 0.5, color=COLORS[0], linewidth=0.8, linestyle=":")
    axes.set(xlim=(-1, STEPS), ylim=(-1, 16))
    axes.set_yticks([0, 15], ["neuron 0", "neuron 15"])


def _changes(axes: plt.Axes) -> None:
    """A signal, its spikes up and down as events, and what they tell."""
    steps, threshold = 200, 0.15
    at = np.arange(steps, dtype=np.float32)
    signal = (np.sin(at / 25) * np.exp(-at / 150)).astype(np.float32)
    train = temporal.delta(signal, threshold=threshold)
    heard = events.of_train(train, dt=DT)
    again = events.to_train(heard, steps=steps, neurons=2, dt=DT).train
    told = temporal.of_delta(again, signal[0], threshold=threshold)
    spiking_pictures.traces(axes, at, signal, color=COLORS[0], label="signal")
    axes.step(at, told, where="post", color=COLORS[1], linewidth=1.1, label="as told")
    _strokes(axes, heard, -1.25)
    spiking_pictures.quiet(axes, f"changes: {len(heard.times)} events for {steps} values")
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    axes.set(ylim=(-1.5, 1.1))


def _strokes(axes: plt.Axes, heard: Events, height: float) -> None:
    """Events up above, events down below a line."""
    for address, color, away in ((0, COLORS[3], 0.09), (1, COLORS[2], -0.09)):
        times = heard.times[heard.addresses == address] / DT
        axes.vlines(times, height, height + away * 2, color=color, linewidth=1.1)


def decoding() -> plt.Figure:
    """How near numbers come back, and how soon digits are told, by the number of steps."""
    figure, (near, soon) = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
    spiking_pictures.lines(near, LENGTHS, errors())
    near.set(xlabel="time steps", ylabel="root mean square error", xscale="log", yscale="log")
    near.set_title("256 numbers of 0..1, told and read", fontsize=9.5, loc="left")
    spiking_pictures.lines(soon, LENGTHS, accuracies(), skipped=3)
    soon.set(xlabel="time steps", ylabel="held-out digits read right [%]", xscale="log")
    soon.set_title("one layer of weights, Poisson pixels", fontsize=9.5, loc="left")
    for axes in (near, soon):
        axes.set_xticks(LENGTHS, [str(steps) for steps in LENGTHS])
        axes.minorticks_off()
        axes.legend(frameon=False, fontsize=8)
    return figure


def errors() -> dict[str, list[float]]:
    """Root mean square error of each code, for every length."""
    x = np.random.default_rng(1).random(256, np.float32)
    found: dict[str, list[float]] = {}
    for steps in LENGTHS:
        for name, told in decoded(encoded(x, steps)).items():
            found.setdefault(name, []).append(float(np.sqrt(np.mean((told - x) ** 2))))
    return found


def accuracies() -> dict[str, list[float]]:
    """Share of held-out digits [%] that each decoder reads right, for every length."""
    data = digits.load()
    (layer,) = digits.train(data, CLASSIFIER)
    rng = np.random.default_rng(580)
    rate = data.held_x / np.float32(DT)
    train = coding.poisson(rate, steps=max(LENGTHS), dt=DT, rng=rng)
    current = train @ layer.weight.T + layer.bias
    fired, v = classified(current)
    noisy = current[..., OWNERS] + rng.normal(0, 4, (*current.shape[:-1], 10 * COPIES))
    many, _ = classified(noisy.astype(np.float32))
    found: dict[str, list[float]] = {}
    for steps in LENGTHS:
        guesses = {
            "most spikes": coding.loudest(fired[:steps]),
            "first spike": temporal.earliest(fired[:steps]),
            "highest potential": coding.highest(v[:steps]),
            f"vote of {COPIES} noisy neurons each": coding.vote(many[:steps], OWNERS, classes=10),
        }
        for name, guess in guesses.items():
            right = float((guess == data.held_labels).mean())
            found.setdefault(name, []).append(100 * right)
    return found


def classified(current: F32) -> tuple[F32, F32]:
    """Spikes of neurons that do not leak, and potentials of ones that do and never spike.

    Args:
        current: (steps, rows, neurons) float32; 1 is a volt per step.
    """
    by_row = current.swapaxes(0, 1)
    params = IfParams(DT, v_threshold=20.0, v_reset=0.0, reset="subtract")
    shape = (by_row.shape[0], by_row.shape[2])
    start = integrate_and_fire.after_reset(shape, params)
    spikes = population.run(integrate_and_fire.step, start, by_row, params, dt=DT).spikes
    slow = LiParams(tau_mem=0.1, resistance=1.0, v_rest=0.0)
    resting = leaky_integrator.at_rest(shape, slow)
    v = population.run(leaky_integrator.step, resting, by_row, slow, dt=DT).v
    return spikes.swapaxes(0, 1), v.swapaxes(0, 1)
