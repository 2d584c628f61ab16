"""Reverse mode over a network: one run forwards that keeps its values, one run backwards.

Source: Linnainmaa 1970; what a step contributes is its operator's gradient.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from shared.network.graph import Network, Step
from shared.operators import catalog, validate
from shared.operators.spec import Backend, Backward, Run, Tensors
from shared.tensors.dtypes import F32
from shared.tensors.layouts import Tensor, dense

Visit = Callable[[Step, Backward], None]


@dataclass(frozen=True, slots=True, eq=False)
class Taped:
    """The values of one run forwards, by name: inputs, weights and everything that was made."""

    network: Network
    values: Mapping[str, Tensor]


def on(backend: Backend) -> Run:
    """Single calls of catalogued operators on a backend, from and to host memory."""

    def run(operator: str, inputs: Tensors, attributes: Mapping[str, object]) -> dict[str, Tensor]:
        spec = catalog.spec(operator)
        resident = {port: backend.upload(tensor) for port, tensor in inputs.items()}
        made: Mapping[str, object] = {}
        try:
            made = backend.run(spec, resident, attributes)  # type: ignore[arg-type]  # checked there
            return {port: backend.download(value) for port, value in made.items()}
        finally:
            for value in (*resident.values(), *made.values()):
                backend.release(value)

    return run


def forward(network: Network, inputs: Tensors, run: Run) -> Taped:
    """Run every step and keep every value.

    Args:
        inputs: by name, as the network declares them.
        run: a backend's calls; see `on`.
    """
    values: dict[str, Tensor] = {**network.weights, **inputs}
    for step in network.steps:
        bound = {port: values[name] for port, name in step.inputs.items()}
        made = run(step.operator, bound, step.attributes)
        values |= {step.outputs[port]: tensor for port, tensor in made.items()}
    return Taped(network, values)


def gradients(
    taped: Taped, outer: Tensors, wanted: frozenset[str], run: Run, visit: Visit | None = None
) -> dict[str, Tensor]:
    """Gradients of a loss with respect to weights or inputs.

    Args:
        outer: by value name, the gradient of the loss where it enters.
        wanted: names of values whose gradient is asked for.
        visit: is shown every product on the way back, with what it read and was given.

    Returns:
        By name, float32; for a sparse weight of the shape of its part `values`. A wanted value
        that the loss does not depend on is absent.

    Raises:
        ValueError: a step on the way has no gradient; names it.
    """
    needed = _needed(taped.network, wanted)
    slopes: dict[str, Tensor] = dict(outer)
    for step in reversed(taped.network.steps):
        asked = frozenset(port for port, name in step.inputs.items() if name in needed)
        passed = {port: slopes[name] for port, name in step.outputs.items() if name in slopes}
        if not asked or not passed:
            continue
        call = _call(taped, step, passed, asked, run)
        for port, slope in _gradient(step)(call).items():
            name = step.inputs[port]
            slopes[name] = _added(slopes[name], slope) if name in slopes else slope
        if visit is not None:
            visit(step, call)
    return {name: slopes[name] for name in wanted if name in slopes}


def _needed(network: Network, wanted: frozenset[str]) -> set[str]:
    """Every value through which a wanted one reaches the outputs, the wanted ones included."""
    needed = set(wanted)
    for step in network.steps:
        if needed.intersection(step.inputs.values()):
            needed.update(step.outputs.values())
    return needed


def _call(taped: Taped, step: Step, passed: Tensors, asked: frozenset[str], run: Run) -> Backward:
    return Backward(
        inputs={port: taped.values[name] for port, name in step.inputs.items()},
        outputs={port: taped.values[name] for port, name in step.outputs.items()},
        attributes=validate.complete(catalog.spec(step.operator), step.attributes),
        outer=passed,
        wanted=asked,
        run=run,
    )


def _gradient(step: Step) -> Callable[[Backward], dict[str, Tensor]]:
    gradient = catalog.spec(step.operator).gradient
    if gradient is None:
        raise ValueError(
            f"step {step.name!r} cannot be trained through: {step.operator} has no gradient"
        )
    return gradient


def _added(left: Tensor, right: Tensor) -> Tensor:
    total: F32 = left.values.view(np.float32) + right.values.view(np.float32)
    return dense(total)
