"""What other simulators do with a step where it is not ours: their rules in float64, on the files
that they export, beside the spikes that they made."""

from typing import Any, NamedTuple

import nir
import numpy as np
import numpy.typing as npt

from services.compressor.importers.nir_nested import Wired

F64 = npt.NDArray[np.float64]
Bits = npt.NDArray[np.bool_]


class Rule(NamedTuple):
    """How a step departs from Euler's rule with a reset at once, above the threshold."""

    words: str = "none"
    ends: bool = False  # potentials read the current of the end of the step, not of its beginning
    lost: bool = False  # a spike is reset a step late: all that arrives in that step is lost
    meets: bool = False  # a potential that meets the threshold spikes


ENDS = Rule("reads the current of the end of a step", ends=True)
LOST = Rule("the potential is reset for the whole step after a spike", lost=True)
BOTH = Rule(f"{ENDS.words}; {LOST.words}", ends=True, lost=True)
RULES = {
    ("spikingjelly", "IF"): Rule(),
    ("spikingjelly", "LIF"): Rule(),
    ("spikingjelly", "IF, sums at the threshold"): Rule("spikes at the threshold", meets=True),
    ("spikingjelly", "CubaLIF"): ENDS,
    ("norse", "LIF"): Rule(),
    ("norse", "CubaLIF, w_in of tau_syn / dt"): ENDS,
    ("norse", "IF, steps of 1 s"): Rule(),
    ("snntorch", "LIF"): Rule(),
    ("snntorch", "LIF, reset_delay=False"): Rule(),
    ("snntorch", "CubaLIF"): BOTH,
    ("snntorch", "CubaLIF that reads itself"): BOTH,
    ("snntorch", "CubaLIF, reset_delay=False"): ENDS,
    ("snntorch", "LIF that reads itself"): LOST,
    ("snntorch", "LIF that reads itself, reset_delay=False"): Rule(),
}


def spikes(graph: Wired[nir.NIRNode], x: F64, dt: float, rule: Rule) -> Bits:
    """Spikes (n, steps, m) of a file of one layer, which may read itself.

    Args:
        x: (n, steps, k) of zeros and ones.
        dt: length of a step [s].
    """
    (neuron,) = (node for node in graph.nodes.values() if hasattr(node, "v_threshold"))
    into, *among = (node for node in graph.nodes.values() if hasattr(node, "weight"))
    arriving, made = x @ into.weight.T + into.bias, []
    v, i = np.zeros(arriving[:, 0].shape), np.zeros(arriving[:, 0].shape)
    fired = np.zeros(v.shape, bool)
    for now in arriving.swapaxes(0, 1):
        sums = now + sum((fired @ one.weight.T for one in among), np.zeros(v.shape))
        drive, i = _driven(neuron, sums, i, dt, rule)
        after = v + drive - _leaving(neuron, v, dt)
        v = np.where(fired & rule.lost, neuron.v_reset, after)
        fired = v >= neuron.v_threshold if rule.meets else v > neuron.v_threshold
        v = np.where(fired, neuron.v_reset, v)
        made.append(fired)
    return np.stack(made, axis=1)


def _driven(node: Any, sums: F64, i: F64, dt: float, rule: Rule) -> tuple[F64, F64]:
    """What a potential gains in a step, and the current after it."""
    if isinstance(node, nir.IF):
        return dt * node.r * sums, i
    if isinstance(node, nir.LIF):
        return dt / node.tau * node.r * sums, i
    after = i + dt / node.tau_syn * (node.w_in * sums - i)
    return dt / node.tau_mem * node.r * (after if rule.ends else i), after


def _leaving(node: Any, v: F64, dt: float) -> F64:
    """What a potential loses in a step."""
    if isinstance(node, nir.IF):
        return np.zeros(v.shape)
    tau = node.tau if isinstance(node, nir.LIF) else node.tau_mem
    return dt / tau * (v - node.v_leak)
