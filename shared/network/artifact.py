"""A network as bytes, and back: one safetensors file with the weights and, as JSON, the graph.

The same network gives the same bytes, so an artifact is named by their sha256. Reading trusts
nothing: every name, shape and attribute is checked before a step could run.
"""

import json
from collections.abc import Mapping
from math import isfinite

from shared.network import shapes
from shared.network.graph import Network, Step
from shared.operators.dims import MAX_RANK
from shared.operators.spec import Attributes, Scalar
from shared.tensors import container, header, requirements
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, TensorType

KEY = "network"
VERSION = 1


def pack(network: Network) -> bytes:
    """Bytes of a network: the same for the same network, on every machine.

    Raises:
        ValueError: the network is unsound; see `shapes.check`.
    """
    shapes.check(network)
    weights = {name: network.weights[name] for name in sorted(network.weights)}
    return container.pack(weights, {KEY: _to_json(network)})


def unpack(data: bytes) -> Network:
    """The network of an artifact; its weights are views of `data` where that is possible.

    Raises:
        ValueError: the bytes are no container, the graph does not parse, or it is unsound.
    """
    text = container.metadata(data).get(KEY)
    if text is None:
        raise ValueError(f"not an artifact: the metadata has no key {KEY!r}")
    graph = header.json_object(text, "graph")
    if (version := graph.get("version")) != VERSION:
        raise ValueError(f"artifact version {version!r}; this program reads {VERSION}")
    network = Network(
        inputs={
            name: _type(kind, name) for name, kind in _record(graph.get("inputs"), "inputs").items()
        },
        outputs=tuple(_text(name, "output") for name in _items(graph.get("outputs"), "outputs")),
        steps=tuple(_step(entry) for entry in _items(graph.get("steps"), "steps")),
        weights=container.unpack(data),
    )
    shapes.check(network)
    return network


def _to_json(network: Network) -> str:
    graph = {
        "version": VERSION,
        "inputs": {
            name: {"layout": kind.layout, "dtype": kind.dtype, "shape": kind.shape}
            for name, kind in network.inputs.items()
        },
        "outputs": network.outputs,
        "steps": [
            {
                "name": step.name,
                "operator": step.operator,
                "inputs": _sorted(step.inputs),
                "outputs": _sorted(step.outputs),
                "attributes": {key: step.attributes[key] for key in sorted(step.attributes)},
            }
            for step in network.steps
        ],
    }
    return json.dumps(graph, allow_nan=False, separators=(",", ":"))


def _sorted(names: Mapping[str, str]) -> dict[str, str]:
    return {port: names[port] for port in sorted(names)}


def _step(entry: object) -> Step:
    record = _record(entry, "step")
    name = _text(record.get("name"), "step name")
    return Step(
        name=name,
        operator=_text(record.get("operator"), f"operator of {name}"),
        inputs=_names(record.get("inputs"), f"inputs of {name}"),
        outputs=_names(record.get("outputs"), f"outputs of {name}"),
        attributes=_attributes(record.get("attributes"), f"attributes of {name}"),
    )


def _type(entry: object, name: str) -> TensorType:
    record = _record(entry, f"input {name}")
    layout = Layout(_text(record.get("layout"), f"layout of {name}"))
    dtype = Dtype(_text(record.get("dtype"), f"element type of {name}"))
    sizes = _items(record.get("shape"), f"shape of {name}")
    if not 1 <= len(sizes) <= MAX_RANK:
        raise ValueError(f"input {name} has rank {len(sizes)}, not 1 to {MAX_RANK}")
    batch, *rest = sizes
    if batch is not None:
        rest = sizes
    shape = tuple(_size(size, name) for size in rest)
    return TensorType(layout, dtype, (None, *shape) if batch is None else shape)


def _size(value: object, name: str) -> int:
    if type(value) is not int or not 0 <= value <= requirements.MAX_INDEX:
        raise ValueError(f"input {name} has a dimension {value!r}; only the first may be open")
    return value


def _attributes(entry: object, what: str) -> Attributes:
    return {key: _scalar(value, f"{what}: {key}") for key, value in _record(entry, what).items()}


def _scalar(value: object, what: str) -> Scalar:
    if isinstance(value, float) and not isfinite(value):  # JSON's 1e999, which nobody could write
        raise ValueError(f"{what} is {value}, not a finite number")
    if isinstance(value, bool | int | float | str):
        return value
    sizes = _items(value, what)
    whole = tuple(size for size in sizes if type(size) is int)
    if len(whole) != len(sizes) or len(whole) > MAX_RANK:
        raise ValueError(f"{what} must be a scalar or up to {MAX_RANK} integers")
    return whole


def _names(entry: object, what: str) -> dict[str, str]:
    return {port: _text(value, what) for port, value in _record(entry, what).items()}


def _record(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be an object, not {type(value).__name__}")
    return value


def _items(value: object, what: str) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"{what} must be a list, not {type(value).__name__}")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} must be text, not {type(value).__name__}")
    return value
