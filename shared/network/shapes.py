"""What shapes flow through a network, what each step costs, and whether it is sound at all."""

from collections.abc import Mapping
from math import prod
from typing import NamedTuple

import numpy as np

from shared.network.graph import Network, Step
from shared.operators import catalog, validate
from shared.operators.spec import Attributes, Cost, OperatorSpec, Types
from shared.quantization import affine
from shared.tensors.layouts import SPARSE, Tensor, TensorType

MAX_STEPS = 10_000
MAX_ELEMENTS = 2**28  # of one value at batch 1; 1 GiB of float32, more than a card of 8 GiB likes
MAX_MADE = 2**29  # elements of one value of a whole batch; 2 GiB of float32
MAX_NAME = 256  # characters of a value's or a step's name


class StepCost(NamedTuple):
    """The compulsory work of one step, and the share of zeros in its weight (0 without one)."""

    step: Step
    cost: Cost
    sparsity: float


def infer(network: Network, batch: int) -> dict[str, TensorType]:
    """Types of every value (inputs, weights, activations) when each input has `batch` rows.

    Raises:
        ValueError: an operator is unknown, a value undefined, or a shape does not fit.
    """
    types = {name: kind.with_batch(batch) for name, kind in network.inputs.items()}
    types |= {name: weight.type for name, weight in network.weights.items()}
    for step in network.steps:
        spec = catalog.spec(step.operator)
        try:
            outputs, _ = call_types(spec, _bound(step, types), step.attributes)
            types |= {step.outputs[port]: kind for port, kind in outputs.items()}
        except ValueError as error:
            raise ValueError(f"step {step.name!r}: {error}") from None
    return types


def call_types(
    spec: OperatorSpec, inputs: Types, attributes: Attributes
) -> tuple[dict[str, TensorType], Attributes]:
    """Output types of one call, and its attributes with every default filled in.

    Raises:
        ValueError: ports, attributes or shapes do not fit the spec.
    """
    filled = validate.call(spec, inputs, attributes)
    return spec.infer(inputs, filled), filled


def require_room(name: str, kind: TensorType) -> None:
    """Refuse a value that would take a worker's memory, whoever asks for it.

    Raises:
        ValueError: it has over `MAX_MADE` elements; names it with its shape.
    """
    if prod(size or 0 for size in kind.shape) > MAX_MADE:
        raise ValueError(f"{name} would be {kind.shape}, over the limit of {MAX_MADE} elements")


def zeros(weight: Tensor) -> float:
    """Share of elements that are zero, whether they are stored or not."""
    stored = affine.steps(weight) if "codes" in weight.parts else weight.parts["values"]
    return 1.0 - int(np.count_nonzero(stored)) / max(weight.size, 1)


def step_costs(network: Network, batch: int) -> list[StepCost]:
    """Flops, compulsory bytes and weight sparsity of each step at `batch` rows."""
    types = infer(network, batch)
    return [
        StepCost(step, _cost(step, types), _sparsity(step, network.weights))
        for step in network.steps
    ]


def check(network: Network) -> None:
    """Hold a network against its rules: unique names, order, known operators, fitting shapes, size.

    Raises:
        ValueError: names the first step or value that breaks a rule.
    """
    _check_names(network)
    _check_order(network)
    for name, kind in infer(network, 1).items():
        if _elements(network, name, kind) > MAX_ELEMENTS:
            raise ValueError(
                f"value {name!r} has shape {kind.shape}, over {MAX_ELEMENTS} elements per row"
            )


def _elements(network: Network, name: str, kind: TensorType) -> int:
    """Elements of a value as it may be written out; synapses between neurons never are."""
    if any(step.inputs.get("recurrent") == name for step in network.steps):
        return kind.nonzeros or 0
    return prod(size or 0 for size in kind.shape)


def _bound(step: Step, types: Mapping[str, TensorType]) -> dict[str, TensorType]:
    if unmade := [value for value in step.inputs.values() if value not in types]:
        raise ValueError(f"it reads {unmade[0]!r}, which nothing makes")
    return {port: types[value] for port, value in step.inputs.items()}


def _cost(step: Step, types: Mapping[str, TensorType]) -> Cost:
    spec = catalog.spec(step.operator)
    bound = _bound(step, types)
    return spec.cost(bound, validate.complete(spec, step.attributes))


def _sparsity(step: Step, weights: Mapping[str, Tensor]) -> float:
    """Share of zeros in the largest weight that the step reads."""
    read = [weights[value] for value in step.inputs.values() if value in weights]
    largest = max(read, key=lambda weight: weight.size, default=None)
    if largest is None or largest.size == 0:
        return 0.0
    if largest.layout in SPARSE:
        return 1.0 - (largest.type.nonzeros or 0) / largest.size
    return zeros(largest)


def _check_names(network: Network) -> None:
    if not network.outputs:
        raise ValueError("the network has no output")
    if len(network.steps) > MAX_STEPS:
        raise ValueError(f"{len(network.steps)} steps, over the limit of {MAX_STEPS}")
    made = [value for step in network.steps for value in step.outputs.values()]
    for what, names in (
        ("step", [step.name for step in network.steps]),
        ("value", [*network.inputs, *network.weights, *made]),
        ("output", list(network.outputs)),
    ):
        _check_unique(what, names)


def _check_unique(what: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not 0 < len(name) <= MAX_NAME:
            raise ValueError(f"a {what} name has {len(name)} characters, not 1 to {MAX_NAME}")
        if name in seen:
            raise ValueError(f"{what} {name!r} is defined twice")
        seen.add(name)


def _check_order(network: Network) -> None:
    """Every value is made before it is read, and every output is made at all."""
    maker = {value: step.name for step in network.steps for value in step.outputs.values()}
    known = {*network.inputs, *network.weights}
    for step in network.steps:
        ports = {port.name for port in catalog.spec(step.operator).outputs}
        if unknown := sorted(step.outputs.keys() ^ ports):
            raise ValueError(f"step {step.name!r} must bind the outputs {sorted(ports)}: {unknown}")
        for value in step.inputs.values():
            if value not in known:
                raise ValueError(_unmade(step.name, value, maker))
        known.update(step.outputs.values())
    if missing := [name for name in network.outputs if name not in known]:
        raise ValueError(f"output {missing[0]!r} is made by no step")


def _unmade(step: str, value: str, maker: Mapping[str, str]) -> str:
    if value in maker:
        return f"step {step!r} reads {value!r} before step {maker[value]!r} makes it (a cycle)"
    return f"step {step!r} reads {value!r}, which nothing makes"
