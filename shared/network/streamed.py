"""What comes in for some steps of a stream, as the network takes it; and spikes as events."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from shared.network import streaming
from shared.network.graph import Network
from shared.network.streaming import Opened
from shared.tensors.dtypes import F32, I32, Array, Dtype
from shared.tensors.layouts import Layout, Tensor, dense

EVENTS = ".events"  # ends the name of a tensor that holds spikes as events
FIELDS = "row, step, neuron"


def extent(tensors: Mapping[str, Tensor], spikes: tuple[str, ...]) -> tuple[int, int | None] | None:
    """Rows and steps that tensors cover; None: they are events, and do not tell."""
    for name, tensor in tensors.items():
        if not name.endswith(EVENTS) and tensor.shape:
            timed = name in spikes and len(tensor.shape) == 3
            return tensor.shape[0], tensor.shape[1] if timed else None
    return None


def inputs(way: Opened, tensors: Mapping[str, Tensor], *, at: int) -> dict[str, Tensor]:
    """The network's own inputs: those that came as events spread out, spikes that did not come as
    silence.

    Args:
        at: step of the stream where the call begins.

    Raises:
        ValueError: a value is not finite, a spike neither 0 nor 1, an event out of order or range.
    """
    found = {name: tensor for name, tensor in tensors.items() if not name.endswith(EVENTS)}
    for name in tensors.keys() - found.keys():
        own = name.removesuffix(EVENTS)
        if own not in way.spikes or own in found:
            raise ValueError(f"events are taken once, for {', '.join(way.spikes)}; got {name!r}")
        found[own] = dense(spread(name, tensors[name], _shape(way, own), at=at))
    for own in set(way.spikes) - found.keys():  # silence
        found[own] = dense(np.zeros(_shape(way, own), np.float32))
    for name, tensor in found.items():
        _require_sound(name, tensor, spikes=name in way.spikes)
    return found


def spread(name: str, events: Tensor, shape: tuple[int, ...], *, at: int) -> F32:
    """Events (events, 3) as spikes of a shape (rows, steps, neurons); two of one place are one.

    Raises:
        ValueError: an event is outside, or earlier than the one before it.
    """
    if events.layout is not Layout.DENSE or events.dtype not in (Dtype.I32, Dtype.I64):
        raise ValueError(f"{name} is dense i32 or i64, not {events.layout} {events.dtype}")
    if len(events.shape) != 2 or events.shape[1] != 3:
        raise ValueError(f"{name} is (events, 3): {FIELDS}; not {events.shape}")
    places = events.values.astype(np.int64) - np.array([0, at, 0])
    outside = ((places < 0) | (places >= np.array(shape))).any(axis=1)
    if outside.any():
        first = int(outside.argmax())
        raise ValueError(
            f"event {first} of {name} is {events.values[first].tolist()} ({FIELDS}); rows are "
            f"0..{shape[0] - 1}, steps {at}..{at + shape[1] - 1}, neurons 0..{shape[2] - 1}"
        )
    early = np.flatnonzero(np.diff(places[:, 1]) < 0)
    if early.size:
        first = int(early[0])
        before, now = (int(step) for step in events.values[first : first + 2, 1])
        raise ValueError(
            f"event {first + 1} of {name} is of step {now}, the one before it of {before}; events "
            "are ordered by step"
        )
    spikes = np.zeros(shape, np.float32)
    spikes[tuple(places.T)] = 1.0
    return spikes


def events(spikes: Array, *, at: int) -> I32:
    """Spikes (rows, steps, neurons) as events (events, 3), ordered by step, then row, then neuron.

    Args:
        at: step of the stream where they begin.
    """
    step, row, neuron = np.nonzero(spikes.swapaxes(0, 1))
    return np.stack([row, step + at, neuron], axis=1).astype(np.int32)


def _shape(way: Opened, name: str) -> tuple[int, ...]:
    return tuple(size or 0 for size in way.first.inputs[name].shape)


def require_inputs(network: Network, tensors: Mapping[str, Tensor]) -> None:
    """Look at every value of the inputs that are spikes.

    Raises:
        ValueError: see `require_spikes`.
    """
    for name in streaming.spikes(network):
        if name in tensors:
            require_spikes(name, tensors[name].values)


def require_spikes(name: str, values: Array) -> None:
    """Look at every value of an input that is spikes.

    Raises:
        ValueError: one is neither 0 nor 1; names it and its place.
    """
    _require(name, values, (values == 0) | (values == 1), "a spike is 0 or 1")


def _require_sound(name: str, tensor: Tensor, *, spikes: bool) -> None:
    if tensor.layout is not Layout.DENSE or tensor.dtype is not Dtype.F32:
        return  # the network itself says what it takes
    values = tensor.values.view(np.float32)
    if spikes:
        require_spikes(name, values)
    else:
        _require(name, values, np.isfinite(values), "it must be finite")


def _require(name: str, values: Array, sound: npt.NDArray[np.bool_], wanted: str) -> None:
    if not sound.all():
        place = tuple(int(i) for i in np.argwhere(~sound)[0])
        raise ValueError(f"input {name!r} is {values[place]} at {place}; {wanted}")
