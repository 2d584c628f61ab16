"""Fold what follows a product into it: a constant factor, a constant offset, a relu.

One step then does what three did, and compression sees one layer where the file had a chain.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from shared.network.graph import Network, Step
from shared.tensors import layouts
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor

PRODUCT = "gemm_f32"


def fuse(network: Network) -> Network:
    """The same function with fewer steps; steps and weights that nothing reads are left out."""
    chain = _Chain(dict(network.weights))
    reads = Counter(value for step in network.steps for value in step.inputs.values())
    reads.update(network.outputs)
    steps: list[Step] = []
    place: dict[str, int] = {}  # product's output value -> its index in steps
    for step in network.steps:
        before = _source(step)
        index = place.get(before, -1)
        merged = None
        if index >= 0 and reads[before] == 1:
            merged = chain.merge(steps[index], step)
        if merged is None:
            steps.append(step)
            index = len(steps) - 1
        else:
            del place[before]
            steps[index] = merged
        if steps[index].operator == PRODUCT:
            place[steps[index].outputs["y"]] = index
    return _without_dead(replace(network, steps=tuple(steps), weights=chain.weights))


@dataclass(frozen=True, slots=True)
class _Chain:
    """The weights while steps are merged."""

    weights: dict[str, Tensor]

    def merge(self, product: Step, follower: Step) -> Step | None:
        """The product with its follower folded in, or None when they do not go together."""
        if product.attributes["activation"] != "none":
            return None
        merged: Step | None = None
        if follower.operator == "relu":
            merged = replace(product, attributes={**product.attributes, "activation": "relu"})
        elif follower.operator in _FOLDS and (held := self.weights.get(follower.inputs["b"])):
            merged = _FOLDS[follower.operator](self, product, follower.inputs["b"], held)
        return None if merged is None else replace(merged, outputs=dict(follower.outputs))

    def scale(self, product: Step, name: str, factor: Tensor) -> Step | None:
        """(W x + b) f = (f W) x + f b."""
        weight = _values(self.weights[product.inputs["weight"]])
        rows = _per_row(factor, weight.shape[0])
        scaled = {"weight": weight * rows[:, np.newaxis]}
        if "bias" in product.inputs:
            scaled["bias"] = _values(self.weights[product.inputs["bias"]]) * rows
        return self._with(product, name, scaled)

    def offset(self, product: Step, name: str, added: Tensor) -> Step | None:
        """(W x + b) + c = W x + (b + c)."""
        outputs = self.weights[product.inputs["weight"]].shape[0]
        bias = _per_row(added, outputs)
        if "bias" in product.inputs:
            bias = bias + _values(self.weights[product.inputs["bias"]])
        return self._with(product, name, {"bias": bias})

    def _with(self, product: Step, name: str, changed: dict[str, F32]) -> Step | None:
        """The product on changed weights; None when float32 overflowed, so the chain must stay."""
        if not all(np.isfinite(values).all() for values in changed.values()):
            return None
        inputs = dict(product.inputs)
        for port, values in changed.items():
            inputs[port] = self._unused(f"{name}.{port}")
            self.weights[inputs[port]] = layouts.dense(values)
        return replace(product, inputs=inputs)

    def _unused(self, name: str) -> str:
        while name in self.weights:
            name += "'"
        return name


_FOLDS: dict[str, Callable[[_Chain, Step, str, Tensor], Step | None]] = {
    "mul": _Chain.scale,
    "add": _Chain.offset,
}


def _source(step: Step) -> str:
    """The value that a follower would take from a product."""
    return step.inputs.get("x") or step.inputs.get("a", "")


def _values(weight: Tensor) -> F32:
    return weight.values.view(np.float32)


def _per_row(tensor: Tensor, rows: int) -> F32:
    return np.broadcast_to(_values(tensor), (rows,)).astype(np.float32)


def _without_dead(network: Network) -> Network:
    """Keep what the outputs depend on."""
    needed = set(network.outputs)
    kept: list[Step] = []
    for step in reversed(network.steps):
        if needed.intersection(step.outputs.values()):
            kept.append(step)
            needed.update(step.inputs.values())
    weights = {name: held for name, held in network.weights.items() if name in needed}
    return replace(network, steps=tuple(reversed(kept)), weights=weights)
