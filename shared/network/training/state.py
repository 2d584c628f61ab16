"""Where a training run stands: enough to go on bit by bit, as a value and as bytes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from shared.network import artifact
from shared.network.graph import Network
from shared.tensors import container, header
from shared.tensors.dtypes import F32, Dtype
from shared.tensors.layouts import Layout, Tensor, dense

KEY, VERSION = "training", 1
_NETWORK = "network"


@dataclass(frozen=True, slots=True, eq=False)
class TrainState:
    """A network in training after `step` mini-batches.

    `slots` holds what the optimiser remembers, by weight and by name, of the shape of the trained
    array: for a sparse weight that is its part `values`. The order of batches and every random
    choice follow from the plan's seed and the step, so nothing else needs to be kept.
    """

    network: Network
    slots: Mapping[str, Mapping[str, F32]]
    step: int = 0
    loss: float = float("nan")  # mean of the last mini-batch
    kept: Mapping[str, float] = field(default_factory=dict)  # numbers of methods by name

    @property
    def nbytes(self) -> int:
        """Bytes of weights and optimiser state."""
        held = sum(array.nbytes for slots in self.slots.values() for array in slots.values())
        return self.network.weight_bytes + held


def pack(state: TrainState) -> bytes:
    """The state as one container; the same state gives the same bytes."""
    names = [
        (weight, slot) for weight in sorted(state.slots) for slot in sorted(state.slots[weight])
    ]
    tensors = {f"slot.{at}": dense(state.slots[w][s]) for at, (w, s) in enumerate(names)}
    packed = np.frombuffer(artifact.pack(state.network), dtype=np.uint8)
    about = {
        "version": VERSION,
        "step": state.step,
        "loss": state.loss if np.isfinite(state.loss) else None,
        "slots": names,
        "kept": dict(sorted(state.kept.items())),
    }
    return container.pack({_NETWORK: dense(packed), **tensors}, {KEY: json.dumps(about)})


def unpack(data: bytes) -> TrainState:
    """Undo `pack`.

    Raises:
        ValueError: the bytes are no training state, or one of another version.
    """
    text = container.metadata(data).get(KEY)
    if text is None:
        raise ValueError(f"not a training state: the metadata has no key {KEY!r}")
    about = header.json_object(text, KEY)
    if about.get("version") != VERSION:
        raise ValueError(f"training state version {about.get('version')!r}; this reads {VERSION}")
    tensors = container.unpack(data)
    step, names, kept, loss = (about.get(key) for key in ("step", "slots", "kept", "loss"))
    if type(step) is not int or step < 0 or not isinstance(names, list):
        raise ValueError(f"a training state has a step and slots, got {step!r}, {type(names)}")
    if not isinstance(kept, dict) or not all(type(value) is float for value in kept.values()):
        raise ValueError("a training state keeps numbers by name")
    slots: dict[str, dict[str, F32]] = {}
    for at, pair in enumerate(names):
        weight, slot = _pair(pair)
        slots.setdefault(weight, {})[slot] = _floats(tensors, f"slot.{at}")
    network = artifact.unpack(_octets(tensors))
    return TrainState(network, slots, step, loss if type(loss) is float else float("nan"), kept)


def _pair(entry: object) -> tuple[str, str]:
    match entry:
        case [str(weight), str(slot)]:
            return weight, slot
    raise ValueError(f"a slot is named by a weight and a word, got {entry!r:.80}")


def _floats(tensors: Mapping[str, Tensor], name: str) -> F32:
    tensor = tensors.get(name)
    if tensor is None or tensor.layout is not Layout.DENSE or tensor.dtype is not Dtype.F32:
        raise ValueError(f"a training state holds {name!r} as dense f32")
    array: F32 = tensor.values.view(np.float32)
    return array


def _octets(tensors: Mapping[str, Tensor]) -> bytes:
    tensor = tensors.get(_NETWORK)
    if tensor is None or tensor.layout is not Layout.DENSE or tensor.dtype is not Dtype.U8:
        raise ValueError(f"a training state holds {_NETWORK!r} as bytes")
    return tensor.values.tobytes()
