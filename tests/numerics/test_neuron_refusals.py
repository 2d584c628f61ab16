"""Neurons that cannot be, steps that are too long, and currents that would spread."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shared.spiking import adaptive_lif, cuba_lif, integrate_and_fire, izhikevich, lif, population
from shared.spiking.izhikevich import IzhikevichParams
from shared.spiking.leaky_integrator import LiParams
from tests.numerics import neurons
from tests.numerics.neurons import ALIF, CUBA, DT, IF, LIF, MODELS

LI = LiParams(**neurons.LEAKY)
IZHIKEVICH = IzhikevichParams()


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, np.nan])
@pytest.mark.parametrize(
    ("params", "name"),
    [
        (IF, "capacitance"), (LI, "tau_mem"), (LI, "resistance"), (LIF, "tau_mem"),
        (LIF, "resistance"), (CUBA, "tau_syn"), (CUBA, "tau_mem"), (CUBA, "resistance"),
        (ALIF, "tau_mem"), (ALIF, "resistance"), (ALIF, "tau_adapt"), (ALIF, "jump"),
        (IZHIKEVICH, "a"), (IZHIKEVICH, "capacitance"),
    ],
)  # fmt: skip
def test_constants_that_are_not_positive_are_refused(params: Any, name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive and finite, got {value}"):
        replace(params, **{name: value})


@pytest.mark.parametrize("params", [IF, LIF, CUBA, ALIF])
def test_a_spike_that_does_not_lead_below_the_threshold_is_refused(params: Any) -> None:
    with pytest.raises(ValueError, match=r"v_threshold must be above the reset -0.05 V, got -0.05"):
        replace(params, v_reset=-0.05)
    with pytest.raises(ValueError, match=r"v_threshold must be above the reset 0.0 V, got -0.05"):
        replace(params, reset="zero")
    with pytest.raises(ValueError, match=r"v_threshold must be above the reset -0.065 V, got nan"):
        replace(params, v_threshold=np.nan)
    with pytest.raises(ValueError, match="v_reset must be finite, got -inf V"):
        replace(params, v_reset=-np.inf)
    with pytest.raises(ValueError, match="'value', 'zero' or 'subtract', got 'rest'"):
        replace(params, reset="rest")
    with pytest.raises(ValueError, match=r"t_refractory must be 0 s or more, got -0\.001 s"):
        replace(params, t_refractory=-1e-3)


@pytest.mark.parametrize("params", [LI, LIF, CUBA, ALIF])
def test_a_resting_potential_is_a_number(params: Any) -> None:
    with pytest.raises(ValueError, match="v_rest must be finite, got nan V"):
        replace(params, v_rest=np.nan)


@pytest.mark.parametrize("dt", [0.0, -1e-3, np.nan, np.inf])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_step_goes_forward(name: str, dt: float) -> None:
    with pytest.raises(ValueError, match=f"dt must be positive and finite, got {dt} s"):
        MODELS[name].run(np.zeros((1, 2), np.float32), dt=dt)


@pytest.mark.parametrize("name", ["lif_euler", "cuba_euler", "alif_euler"])
def test_a_step_of_euler_that_exceeds_a_time_constant_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"must not exceed tau_mem of 0.02 s, got dt 0.021 s"):
        MODELS[name].run(np.zeros((1, 2), np.float32), dt=0.021)


def test_the_time_constant_that_a_step_exceeds_is_named() -> None:
    v = np.zeros(1, np.float32)
    slow, fast = replace(CUBA, tau_syn=1e-4), replace(ALIF, tau_adapt=1e-4)

    with pytest.raises(ValueError, match=r"exceed tau_syn of 0.0001 s, got dt 0.001 s"):
        cuba_lif.step(cuba_lif.at_rest((1,), slow), v, slow, dt=1e-3, method="euler")
    with pytest.raises(ValueError, match=r"exceed tau_adapt of 0.0001 s, got dt 0.001 s"):
        adaptive_lif.step(adaptive_lif.at_rest((1,), fast), v, fast, dt=1e-3, method="euler")
    with pytest.raises(ValueError, match=r"a step must not exceed 0.001 s here, got dt 0.002 s"):
        izhikevich.step(izhikevich.after_reset((1,), IZHIKEVICH), v, IZHIKEVICH, dt=2e-3)


def test_exact_steps_may_be_longer_than_a_time_constant() -> None:
    ran = MODELS["lif"].run(np.full((1, 1), 1e-10, np.float32), dt=1.0)

    # 50 time constants: -70 mV + 100 Mohm × 0.1 nA
    np.testing.assert_allclose(ran.v, [[-0.06]], rtol=1e-6)


def test_a_method_that_nobody_knows_is_refused() -> None:
    state, current = lif.at_rest((1,), LIF), np.zeros(1, np.float32)

    with pytest.raises(ValueError, match="method must be 'exact' or 'euler', got 'heun'"):
        lif.step(state, current, LIF, dt=DT, method="heun")  # type: ignore[arg-type]  # on purpose


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_currents_that_are_not_finite_are_refused_by_place(name: str, value: float) -> None:
    current = np.zeros((2, 3, 4), np.float32)
    current[1, 2, 3] = value

    with pytest.raises(ValueError, match=rf"currents must be finite, got {value} A at \(1, 3\)"):
        MODELS[name].run(current)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_currents_of_another_shape_are_refused(name: str) -> None:
    model = MODELS[name]
    state = model.start((3,), model.params)

    with pytest.raises(ValueError, match=r"v \(3,\) and current \(2,\) must have one shape"):
        model.step(state, np.zeros(2, np.float32), model.params, dt=DT)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_currents_of_double_precision_do_not_creep_in(name: str) -> None:
    with pytest.raises(ValueError, match="currents must be float32, got float64"):
        MODELS[name].run(np.zeros((1, 2)))  # type: ignore[arg-type]  # on purpose


def test_a_run_needs_steps_and_neurons() -> None:
    start = integrate_and_fire.after_reset((1,), IF)

    with pytest.raises(ValueError, match=r"\(..., steps, neurons\), got shape \(3,\)"):
        population.run(integrate_and_fire.step, start, np.zeros(3, np.float32), IF, dt=DT)


def test_an_izhikevich_neuron_that_a_spike_does_not_reset_is_refused() -> None:
    with pytest.raises(ValueError, match=r"v_peak must be above c of 0.04 V, got 0.03 V"):
        IzhikevichParams(c=0.04)
    with pytest.raises(ValueError, match="b must be finite, got nan 1/s"):
        IzhikevichParams(b=np.nan)
