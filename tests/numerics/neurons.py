"""One neuron of every model, in SI units, for the tests that hold of all."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from shared.spiking import (
    adaptive_lif,
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
from shared.spiking.population import Ran
from shared.tensors.dtypes import F32

LEAKY = {"tau_mem": 0.02, "resistance": 1e8, "v_rest": -0.07}  # 20 ms, 100 Mohm, -70 mV
LEVELS = {"v_threshold": -0.05, "v_reset": -0.065}
REFRACTORY = 2e-3  # [s]
LIF = LifParams(**LEAKY, **LEVELS, t_refractory=REFRACTORY)
CUBA = CubaParams(tau_syn=5e-3, **LEAKY, **LEVELS, t_refractory=REFRACTORY)
ALIF = AlifParams(**LEAKY, **LEVELS, tau_adapt=0.2, jump=2e-3, t_refractory=REFRACTORY)
IF = IfParams(capacitance=2e-10, **LEVELS, t_refractory=REFRACTORY)
DT = 5e-4  # [s]


@dataclass(frozen=True, slots=True)
class Model:
    """What it takes to run one model."""

    step: Callable[..., Any]
    start: Callable[..., Any]
    params: Any

    def run(self, current: F32, *, dt: float = DT, state: object = None) -> Ran[Any]:
        """From the beginning, or from where another run ended."""
        shape = (*current.shape[:-2], current.shape[-1])
        begun = self.start(shape, self.params) if state is None else state
        return population.run(self.step, begun, current, self.params, dt=dt)


REFRACTORY_MODELS = {
    "if": Model(integrate_and_fire.step, integrate_and_fire.after_reset, IF),
    "lif": Model(lif.step, lif.at_rest, LIF),
    "lif_euler": Model(partial(lif.step, method="euler"), lif.at_rest, LIF),
    "cuba": Model(cuba_lif.step, cuba_lif.at_rest, CUBA),
    "cuba_euler": Model(partial(cuba_lif.step, method="euler"), cuba_lif.at_rest, CUBA),
    "alif": Model(adaptive_lif.step, adaptive_lif.at_rest, ALIF),
    "alif_euler": Model(partial(adaptive_lif.step, method="euler"), adaptive_lif.at_rest, ALIF),
}
MODELS = {
    **REFRACTORY_MODELS,
    "li": Model(leaky_integrator.step, leaky_integrator.at_rest, LiParams(**LEAKY)),
    "izhikevich": Model(izhikevich.step, izhikevich.after_reset, IzhikevichParams()),
}
