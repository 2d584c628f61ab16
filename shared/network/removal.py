"""Rows of dense layers that leave for good, with everything that depends on them.

Channels flow: the outputs of a layer go through functions of single elements, meet others in sums
and products, and end as columns of the layers that read them. Values between which the channels
stay the same form a group: a channel leaves all its layers at once, with their biases, with the
elements of vectors that are added or multiplied, and with the columns of every reader.

A channel whose rows are zero still has a value after, say, sigmoid: the same one for every sample.
Readers get what it contributes as part of their bias, so that the smaller network computes what
the larger one would with those rows and biases at zero.

Source: Fang et al. 2023, "DepGraph: Towards Any Structural Pruning", for the groups.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from shared.network import rewrites
from shared.network.graph import Network, Step
from shared.operators import catalog, validate
from shared.pruning.masks import Mask
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Layout, Tensor, dense

LAYER = "gemm_f32"
SINGLE = frozenset({"relu", "copy", "clip", "tanh", "sigmoid"})  # element by element
PAIRED = frozenset({"add", "mul"})


@dataclass(slots=True, eq=False)
class Group:
    """Layers that lose the same rows, and who else has the channels."""

    size: int = 0  # channels
    layers: list[str] = field(default_factory=list)  # steps whose rows they are
    readers: list[str] = field(default_factory=list)  # steps whose columns they are
    vectors: list[str] = field(default_factory=list)  # weights with an element per channel
    values: set[str] = field(default_factory=set)
    blocked: str = ""  # why no channel can leave; empty: they can


def groups(network: Network) -> list[Group]:
    """Every group of layers, in order of their first; `blocked` says which must stay whole."""
    found = _Found(network)
    for name in network.inputs:
        found.block([name], f"{name!r} is an input")
    for step in network.steps:
        found.follow(step)
    found.block(network.outputs, "it is an output")
    ordered = {id(group): group for group in found.by_value.values()}
    steps = [step.name for step in network.steps]
    return sorted(
        (group for group in ordered.values() if group.layers),
        key=lambda group: steps.index(group.layers[0]),
    )


def without_rows(network: Network, kept: Mapping[str, Mask]) -> Network:
    """A smaller network that computes what it would with the other rows and biases at zero.

    Args:
        kept: by the name of any layer of a group, (outputs,) True for rows that stay; at least one.

    Raises:
        ValueError: the layer's rows cannot leave (says why), two masks are for one group, the mask
            has another length, or nothing would stay.
    """
    for name, mask in kept.items():
        group = next((group for group in groups(network) if name in group.layers), None)
        if group is None or group.blocked:
            why = group.blocked if group else "it is no dense layer"
            raise ValueError(f"rows of {name!r} cannot go: {why}")
        if mask.shape != (group.size,) or not mask.any():
            raise ValueError(
                f"{name!r} has {group.size} rows, of which some must stay; got {mask.shape}"
                f" with {int(mask.sum())} True"
            )
        if other := next((other for other in group.layers if other in kept and other != name), ""):
            raise ValueError(f"{name!r} and {other!r} lose the same rows: give one mask")
        network = _narrowed(network, group, mask)
    return network


class _Found:
    """Groups in the making, by the name of a value."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.by_value: dict[str, Group] = {}
        read = [value for step in network.steps for value in step.inputs.values()]
        self._times = {name: read.count(name) for name in network.weights}

    def follow(self, step: Step) -> None:
        """What a step does to the channels of what it reads."""
        if step.operator == LAYER:
            self._layer(step)
        elif step.operator in SINGLE:
            self._join([step.inputs["x"], step.outputs["y"]])
        elif step.operator in PAIRED:
            self._pair(step)
        else:
            told = f"{step.operator} step {step.name!r} needs all of them"
            self.block([*step.inputs.values(), *step.outputs.values()], told)

    def block(self, values: Iterable[str], why: str) -> None:
        """No channel of these may leave."""
        for value in values:
            if value not in self.network.weights:
                group = self._of(value)
                group.blocked = group.blocked or why

    def _layer(self, step: Step) -> None:
        x, y = step.inputs["x"], step.outputs["y"]
        if why := self._foreign(step):
            self.block([*step.inputs.values(), y], why)
            return
        if x not in self.network.weights:
            self._of(x).readers.append(step.name)
        made = self._of(y)
        made.layers.append(step.name)
        made.size = self.network.weights[step.inputs["weight"]].shape[0]

    def _pair(self, step: Step) -> None:
        a, b, y = step.inputs["a"], step.inputs["b"], step.outputs["y"]
        vector = self.network.weights.get(b)
        if a in self.network.weights:
            self.block([b, y], f"{step.operator} step {step.name!r} begins with a weight")
        elif vector is None:
            self._join([a, b, y])
        elif vector.shape == () or (len(vector.shape) == 1 and self._times[b] == 1):
            self._join([a, y])
            if vector.shape:
                self._of(y).vectors.append(b)
        else:
            self.block([a, y], f"{step.operator} step {step.name!r} has a weight of all channels")

    def _foreign(self, step: Step) -> str:
        """Why a layer's weights may not change; empty when they are its own."""
        for port in ("weight", "bias"):
            name = step.inputs.get(port)
            if name is None:
                continue
            held = self.network.weights.get(name)
            if held is None or held.layout is not Layout.DENSE or self._times[name] != 1:
                return f"the {port} of {step.name!r} is not its own"
        return ""

    def _of(self, value: str) -> Group:
        return self.by_value.setdefault(value, Group(values={value}))

    def _join(self, values: list[str]) -> None:
        """Values with the same channels become one group."""
        first, *others = (self._of(value) for value in values if value not in self.network.weights)
        for other in others:
            if other is first:
                continue
            if first.size and other.size and first.size != other.size:
                first.blocked = first.blocked or "layers of different widths meet"
            first.size = first.size or other.size
            first.layers += other.layers
            first.readers += other.readers
            first.vectors += other.vectors
            first.values |= other.values
            first.blocked = first.blocked or other.blocked
            self.by_value |= dict.fromkeys(other.values, first)


def _narrowed(network: Network, group: Group, mask: Mask) -> Network:
    steps = {step.name: step for step in network.steps}
    network = _folded(network, group, mask)
    weights, held = dict(network.weights), {step.name: step for step in network.steps}
    for name in group.layers:
        weights[steps[name].inputs["weight"]] = dense(_array(network, held[name], "weight")[mask])
        if "bias" in held[name].inputs:
            weights[held[name].inputs["bias"]] = dense(_array(network, held[name], "bias")[mask])
    for name in group.vectors:
        weights[name] = dense(network.weights[name].values[mask])
    for name in group.readers:
        wide = weights[held[name].inputs["weight"]].values  # a reader may have lost rows just now
        weights[held[name].inputs["weight"]] = dense(wide[:, mask])
    return replace(network, weights=weights)


def _folded(network: Network, group: Group, mask: Mask) -> Network:
    """Biases of readers with what channels contribute that leave."""
    left = _constants(network, group)
    added: dict[str, Tensor] = {}
    for step in network.steps:
        if step.name not in group.readers:
            continue
        gone: F32 = left[step.inputs["x"]][~mask]
        if gone.any():
            part = _array(network, step, "weight")[:, ~mask].astype(np.float64) @ gone
            bias = _array(network, step, "bias") if "bias" in step.inputs else np.float32(0.0)
            added[step.name] = dense((bias + part).astype(np.float32))
    return rewrites.with_biases(network, added)


def _constants(network: Network, group: Group) -> dict[str, F32]:
    """By value, what each channel holds while its rows and biases are zero; (size,) float32."""
    made: dict[str, F32] = {}
    for step in network.steps:
        if step.name in group.layers:
            made[step.outputs["y"]] = np.zeros(group.size, np.float32)
        elif step.outputs.get("y") in group.values:
            made[step.outputs["y"]] = _computed(network, step, made)
    return made


def _computed(network: Network, step: Step, made: Mapping[str, F32]) -> F32:
    spec = catalog.spec(step.operator)
    inputs = {
        port: dense(made[value][np.newaxis]) if value in made else network.weights[value]
        for port, value in step.inputs.items()
    }
    outputs = spec.reference(inputs, validate.complete(spec, step.attributes))
    found: F32 = outputs["y"].values.view(np.float32)[0]
    return found


def _array(network: Network, step: Step, port: str) -> F32:
    array: F32 = network.weights[step.inputs[port]].values.view(np.float32)
    return array
