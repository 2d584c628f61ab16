"""Steps of spiking networks, with few passes over memory; see the operators for the rules."""

from collections.abc import Mapping

import numpy as np

from services.cpu_worker import held
from services.cpu_worker.held import Arrays, Held
from shared.operators.attributes import number, single
from shared.operators.spec import Attributes

_LEVELS = ("rest", "reset", "threshold")


def lif_step(inputs: Mapping[str, Held], attributes: Attributes) -> Arrays:
    """One buffer becomes the potential, then the next potential."""
    rest, reset, threshold = (number(attributes, f"v_{what}") for what in _LEVELS)
    potential = held.array(inputs["v"]) - np.float32(rest)
    potential *= single(attributes, "decay")
    potential += np.float32(rest)
    potential += single(attributes, "gain") * held.array(inputs["current"])
    fired = potential > np.float32(threshold)
    potential[fired] = reset
    return {"v_next": potential, "spikes": fired.astype(np.float32)}


def stdp_update(inputs: Mapping[str, Held], attributes: Attributes) -> Arrays:
    """Two outer products straight into one copy of the weight."""
    pre, post = held.array(inputs["pre_spikes"]), held.array(inputs["post_spikes"])
    pre_trace = single(attributes, "decay_pre") * held.array(inputs["pre_trace"])
    post_trace = single(attributes, "decay_post") * held.array(inputs["post_trace"])
    weight = np.multiply.outer(single(attributes, "a_plus") * post, pre_trace)
    weight += held.array(inputs["weight"])
    weight -= np.multiply.outer(single(attributes, "a_minus") * post_trace, pre)
    low, high = (single(attributes, name) for name in ("w_min", "w_max"))
    np.clip(weight, low, high, out=weight)
    return {
        "weight_next": weight,
        "pre_trace_next": pre_trace + pre,
        "post_trace_next": post_trace + post,
    }
