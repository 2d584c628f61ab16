"""Layers of spiking neurons as constants of NIR, for steps of a given length: the way back from
`importers.nir_neurons`.

A decay d of a step is that of tau = -dt / ln d, and a resistance of 1 / (1 - d) makes of the
weights what they add to a potential in a step; 1 / dt does where nothing leaks. With currents, of
decay a and couple c, the resistance is c / (K (1 - a)), K as in `importers.nir_neurons`.

Where what arrives reaches the potential a step later, the layer is a step of Euler's rule, and its
constants are those of that rule: tau = dt / (1 - d), R = c / ((1 - b) (1 - a)).

NIR has no words for the binary places of weights, for a surrogate and for how a layer's numbers are
rounded. They are kept as metadata, a text of JSON under the key `ellesmere`, beside constants that
say the same to every other program; a reader believes it while both agree.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from shared.contracts.errors import UnsupportedOperator
from shared.operators import catalog, spiking_layers, validate
from shared.operators.spec import Attributes
from shared.spiking.layers import NEVER

KEY = "ellesmere"
LAYERS = ("lif_layer", "cuba_layer")
CLOSE = 1e-6  # relative, of float32


class Constants(NamedTuple):
    """A type of node and its constants, the same for all neurons."""

    kind: str
    fields: Mapping[str, float]  # [s], and potentials and currents in units of the weights


def constants(operator: str, given: Attributes, *, dt: float) -> Constants:
    """What a layer is in NIR.

    Args:
        operator: one of `LAYERS`.
        given: its attributes.
        dt: length of a step [s].

    Raises:
        UnsupportedOperator: no node of NIR does that; says why.
        ValueError: it is no layer.
    """
    attributes = validate.complete(catalog.spec(operator), given)
    spiking_layers.layer_of(attributes)  # refuses what is no layer
    held = {name: _single(value) for name, value in attributes.items()}
    silent = held["threshold"] >= NEVER
    if attributes["subtract"] and not silent:
        raise UnsupportedOperator("a reset by subtraction, which no node of NIR has")
    leak = {"v_leak": held["leak"]}
    levels = {} if silent else {"v_threshold": held["threshold"], "v_reset": held["reset"]}
    if operator == "cuba_layer":
        found = {**_filtered(held, dt), **leak, **levels}
        return Constants("CubaLI" if silent else "CubaLIF", found)
    decay = held["decay"]
    if decay == 0.0 and not silent:
        return Constants("Threshold", {"threshold": held["threshold"] - held["leak"]})
    if decay == 1.0:
        shifted = {name: value - held["leak"] for name, value in levels.items()}
        return Constants("I" if silent else "IF", {"r": 1 / dt, **shifted})
    found = {"tau": _tau("decay", decay, dt), "r": 1 / (1 - decay), **leak, **levels}
    return Constants("LI" if silent else "LIF", found)


def kept(operator: str, given: Attributes, *, dt: float) -> dict[str, str]:
    """Metadata that hold what NIR has no words for."""
    every = validate.complete(catalog.spec(operator), given)
    layer = {"operator": operator, "dt": dt, "attributes": every}
    return {KEY: json.dumps(layer, sort_keys=True)}


def _single(value: object) -> float:
    """A number as layers compute with it."""
    return float(np.float32(value)) if isinstance(value, float) else 0.0


def _tau(name: str, share: float, dt: float) -> float:
    if not 0.0 < share < 1.0:
        raise UnsupportedOperator(f"{name} {share}, which no time constant has")
    return float(-dt / np.log(share))


def _filtered(held: Mapping[str, float], dt: float) -> dict[str, float]:
    """Time constants and resistance of currents that drive potentials."""
    left, stays = held["synapse"], held["decay"]
    slow, fast = _tau("decay", stays, dt), _tau("synapse", left, dt)
    if held["direct"] == 0.0:
        resistance = held["couple"] / ((1 - stays) * (1 - left))
        return {
            "tau_mem": dt / (1 - stays),
            "tau_syn": dt / (1 - left),
            "r": resistance,
            "w_in": 1.0,
        }
    passed = share_passed(slow, fast, dt)
    direct = ((1 - stays) - passed) / (passed * (1 - left)) * held["couple"]
    if not abs(direct - held["direct"]) <= CLOSE * max(abs(direct), abs(held["couple"])):
        raise UnsupportedOperator(
            f"direct {held['direct']:g}; with those decays and that couple the equations of "
            f"CubaLIF make {direct:g}"
        )
    resistance = held["couple"] / (passed * (1 - left))
    return {"tau_mem": slow, "tau_syn": fast, "r": resistance, "w_in": 1.0}


def share_passed(slow: float, fast: float, dt: float) -> float:
    """K: what of a current at the beginning of a step is in the potential after it.

    Args:
        slow: time constant of the membrane [s].
        fast: of the synapse [s].
        dt: length of a step [s].
    """
    stays, left = float(np.exp(-dt / slow)), float(np.exp(-dt / fast))
    apart = fast - slow
    if abs(apart) < 1e-9 * slow:
        return stays * dt / slow
    return (left - stays) * fast / apart


def read(metadata: Any, *, dt: float) -> tuple[str, Attributes, Constants] | None:
    """What `kept` wrote, with the constants that it says the same as; None: nothing that is ours,
    or for steps of another length.
    """
    text = metadata.get(KEY) if isinstance(metadata, Mapping) else None
    try:
        layer = json.loads(text) if isinstance(text, str) else {}
        operator, attributes = layer["operator"], layer["attributes"]
        if operator not in LAYERS or layer["dt"] != dt or not isinstance(attributes, dict):
            return None
        return operator, attributes, constants(operator, attributes, dt=dt)
    except (ValueError, KeyError, TypeError, UnsupportedOperator):  # somebody else's text
        return None
