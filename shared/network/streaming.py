"""A network over a stream: what its neurons keep goes out of one call and into the next.

An operator that keeps something has an output port `<port>_next` beside its input port `<port>`:
potentials and currents of `lif_layer` and `cuba_layer`, say. Where nothing of the stream is wired
to such an input port, the stream carries it. So a stream may be cut anywhere: calls of 20 and 30
steps make what one of 50 makes, bit by bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from shared.network import shapes
from shared.network.graph import Network, Step
from shared.operators import catalog
from shared.operators.attributes import whole
from shared.tensors.layouts import TensorType

NEXT = "_next"
CARRIED = "@kept"  # ends the name of an input that holds what was carried
MAX_STEPS = 10_000  # of one call
PACK, UNPACK, ENCODE = "spike_pack", "spike_unpack", "rate_encode"


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A network that is called again and again, for a number of rows and of steps per call."""

    first: Network  # of the first call
    later: Network  # of all others: it also reads what was carried
    carried: Mapping[str, str]  # input of `later` -> the output that holds it for the next call
    spikes: tuple[str, ...]  # inputs that are spikes, 0 or 1


def opened(network: Network, *, rows: int, steps: int | None = None) -> Opened:
    """Open a network.

    Args:
        rows: independent streams side by side.
        steps: time steps of a call; None: as many as the network was made for.

    Raises:
        ValueError: it keeps nothing between calls, or has no such number of steps or rows.
    """
    timed = network if steps is None else _of_steps(network, steps)
    timed = replace(timed, inputs={n: kind.with_batch(rows) for n, kind in timed.inputs.items()})
    kept = _kept(timed)
    if not kept:
        raise ValueError("the network keeps nothing from call to call: none of its steps carries")
    made = {step.outputs[port + NEXT]: step for port, step in kept}
    outputs = (*timed.outputs, *(name for name in made if name not in timed.outputs))
    first = replace(timed, outputs=outputs)
    types = shapes.infer(first, rows)
    carried = {name + CARRIED: name for name in made}
    return Opened(first, _later(first, kept, types), carried, spikes(timed))


def steps_of(network: Network) -> int:
    """Time steps of a call as the network was made.

    Raises:
        ValueError: nothing in it turns numbers into spikes over time.
    """
    for step in network.steps:
        if step.operator == ENCODE:
            return whole(step.attributes, "steps")
        if step.operator == PACK:
            return int(network.inputs[step.inputs["x"]].shape[1] or 0)
    raise ValueError("the network has no time: no step of it makes spikes")


def spikes(network: Network) -> tuple[str, ...]:
    """Inputs that are spikes, 0 or 1: (rows, steps, neurons)."""
    packed = (step.inputs["x"] for step in network.steps if step.operator == PACK)
    return tuple(name for name in packed if name in network.inputs)


def trains(network: Network) -> tuple[str, ...]:
    """Outputs that are spikes, 0 or 1: (rows, steps, neurons)."""
    unpacked = {step.outputs["y"] for step in network.steps if step.operator == UNPACK}
    return tuple(name for name in network.outputs if name in unpacked)


def _kept(network: Network) -> list[tuple[str, Step]]:
    """Ports whose values go from call to call, with their steps."""
    return [
        (port.name, step)
        for step in network.steps
        for port in catalog.spec(step.operator).inputs
        if port.name + NEXT in step.outputs and _carries(network, step.inputs.get(port.name))
    ]


def _carries(network: Network, value: str | None) -> bool:
    """Whether nothing of the stream itself is wired to a port that reads this value."""
    return value is None or value in network.weights


def _later(
    first: Network, kept: list[tuple[str, Step]], types: Mapping[str, TensorType]
) -> Network:
    """The network with an input for everything that is carried."""
    rewired: dict[str, dict[str, str]] = {}
    inputs = dict(first.inputs)
    for port, step in kept:
        value = step.outputs[port + NEXT]
        inputs[value + CARRIED] = types[value]
        rewired.setdefault(step.name, {})[port] = value + CARRIED
    steps = tuple(
        replace(step, inputs={**step.inputs, **rewired.get(step.name, {})}) for step in first.steps
    )
    read = {value for step in steps for value in step.inputs.values()}
    weights = {name: held for name, held in first.weights.items() if name in read}
    return replace(first, inputs=inputs, steps=steps, weights=weights)


def _of_steps(network: Network, steps: int) -> Network:
    """The network with calls of that many time steps."""
    if not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"a call has 1 to {MAX_STEPS} steps, got {steps}")
    timed = spikes(network)
    inputs = {
        name: replace(kind, shape=(kind.shape[0], steps, *kind.shape[2:]))
        if name in timed
        else kind
        for name, kind in network.inputs.items()
    }
    return replace(
        network, inputs=inputs, steps=tuple(_encoding(step, steps) for step in network.steps)
    )


def _encoding(step: Step, steps: int) -> Step:
    if step.operator != ENCODE:
        return step
    return replace(step, attributes={**step.attributes, "steps": steps})
