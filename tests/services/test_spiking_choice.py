"""The way through a layer of spikes is the one that was faster in trials on this machine."""

from collections.abc import Callable

import numpy as np
import pytest

from services.cpu_worker.engine import Engine
from services.cpu_worker.spiking import choice, running
from services.cpu_worker.spiking.choice import TRIALS, Choice
from services.cpu_worker.spiking.running import Run, Synapses
from shared.spiking.layers import Layer
from shared.tensors import packing

SIZES = (3, 20, 70, 40)  # rows, steps, inputs, neurons
KIND = choice.kind(SIZES, 0.34, narrow=True, threads=1)


def test_the_median_of_the_trials_decides() -> None:
    made = Choice()

    for seconds in (1.0, 9.0, 1.0):  # a neighbour took its time from the second
        assert made.product(KIND) is None
        made.tell(KIND, product=seconds, events=2.0)

    assert made.product(KIND) is True
    made.tell(KIND, product=9.0, events=2.0)  # of a call that began before
    assert made.product(KIND) is True


def test_kinds_that_differ_are_tried_apart() -> None:
    made = Choice()
    for _ in range(TRIALS):
        made.tell(KIND, product=3.0, events=2.0)

    assert made.product(KIND) is False
    assert choice.kind(SIZES, 0.39, narrow=True, threads=1) == KIND
    for other in (
        choice.kind(SIZES, 0.41, narrow=True, threads=1),
        choice.kind(SIZES, 0.34, narrow=False, threads=1),
        choice.kind(SIZES, 0.34, narrow=True, threads=2),
        choice.kind((6, *SIZES[1:]), 0.34, narrow=True, threads=1),
    ):
        assert made.product(other) is None


def test_old_kinds_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "REMEMBERED", 2)
    made = Choice()

    for share in (0.2, 0.3, 0.4):
        for _ in range(TRIALS):
            made.tell(choice.kind(SIZES, share, narrow=True, threads=1), product=1.0, events=2.0)

    known = [
        made.product(choice.kind(SIZES, share, narrow=True, threads=1)) for share in (0.2, 0.4)
    ]
    assert known == [None, True]


@pytest.mark.parametrize("slow", ["by_blas", "by_events"])
def test_after_the_trials_the_faster_way_alone_is_gone_and_no_bit_depends_on_it(
    kernels: Engine, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    taken: list[str] = []
    ways: dict[str, Callable[..., None]] = {
        name: getattr(running, name) for name in ("by_blas", "by_events")
    }
    monkeypatch.setattr(running, "CHOICE", Choice())
    monkeypatch.setattr(running, "_seconds", lambda work: (work(), float(taken[-1] == slow))[1])
    for name, way in ways.items():
        monkeypatch.setattr(running, name, _noting(name, way, taken))
    weight = rng.standard_normal((SIZES[3], SIZES[2]), dtype=np.float32)
    synapses, bias = Synapses.of(weight, 16), running.no_bias(SIZES[3])
    spikes = (rng.random(SIZES[:3]) < 0.34).astype(np.uint8)

    wanted = _run(spikes)
    ways["by_events"](wanted, synapses, bias, 1)
    for _ in range(TRIALS + 2):
        made = _run(spikes)
        running.advance(made, synapses, bias, 1)
        np.testing.assert_array_equal(made.fired, wanted.fired)
        np.testing.assert_array_equal(made.v, wanted.v)

    assert taken[: 2 * TRIALS] == ["by_events", "by_blas"] * TRIALS
    assert set(taken[2 * TRIALS :]) == {"by_blas", "by_events"} - {slow}


def test_few_spikes_are_never_a_product(
    kernels: Engine, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "by_blas", None)
    weight = rng.standard_normal((SIZES[3], SIZES[2]), dtype=np.float32)
    run = _run((rng.random(SIZES[:3]) < 0.05).astype(np.uint8))

    running.advance(run, Synapses.of(weight, 16), running.no_bias(SIZES[3]), 1)

    assert run.v.any()


def _run(spikes: np.ndarray) -> Run:
    rows, steps, _, neurons = SIZES
    return Run(
        Layer(0.9),
        SIZES,
        words=packing.join_spikes(spikes).reshape(-1),
        v=np.zeros(rows * neurons, np.float32),
        fired=np.zeros(rows * steps * 2, np.uint32),
    )


def _noting(name: str, way: Callable[..., None], taken: list[str]) -> Callable[..., None]:
    def noted(*given: object) -> None:
        taken.append(name)
        way(*given)

    return noted
