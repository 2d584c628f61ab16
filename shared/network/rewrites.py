"""Networks with other weights: every product gets the operator that reads its weight's layout."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from shared.network.graph import Network, Step
from shared.operators import catalog
from shared.operators.spec import Attributes
from shared.tensors.layouts import SPARSE, Layout, Tensor

OPERATORS = {
    Layout.DENSE: "gemm_f32",
    Layout.INT8_CHANNEL: "gemm_i8",
    Layout.INT4_GROUP: "gemm_i4",
    Layout.INT_GROUP: "gemm_int",
    **{layout: f"spmm_{layout}" for layout in SPARSE},
}
PRODUCTS = frozenset(OPERATORS.values())


def products(network: Network) -> dict[str, Step]:
    """Steps that multiply by a weight of the network with one row per sample, by name."""
    return {
        step.name: step
        for step in network.steps
        if step.operator in PRODUCTS
        and step.inputs["weight"] in network.weights
        and (step.operator.startswith("gemm") or step.attributes.get("batch_first"))
    }


def with_weights(network: Network, made: Mapping[str, Tensor]) -> Network:
    """Give products other weights; a weight that nobody reads any more goes.

    Args:
        made: by step name, a weight of the same shape in any layout that a product reads.

    Raises:
        ValueError: no product has that name, or the shapes differ.
    """
    known, weights = products(network), dict(network.weights)
    names: dict[str, str] = {}
    for step, tensor in made.items():
        if step not in known:
            raise ValueError(f"no product is called {step!r}; there are {', '.join(known)}")
        old = known[step].inputs["weight"]
        if weights[old].shape != tensor.shape:
            raise ValueError(f"{step!r} has a weight {weights[old].shape}, not {tensor.shape}")
        names[step] = unused(f"{_plain(old)}:{tensor.layout}", weights)
        weights[names[step]] = tensor
    steps = tuple(
        _reading(step, names[step.name], made[step.name].layout) if step.name in made else step
        for step in network.steps
    )
    return replace(network, steps=steps, weights=only_read(network, steps, weights))


def with_attributes(network: Network, steps: Iterable[str], given: Attributes) -> Network:
    """Give some steps further attributes.

    Raises:
        ValueError: the operator of one has no such attribute.
    """
    named = set(steps)
    for step in network.steps:
        known = {attribute.name for attribute in catalog.spec(step.operator).attributes}
        if step.name in named and not given.keys() <= known:
            raise ValueError(f"{step.operator} of step {step.name!r} takes no {', '.join(given)}")
    changed = tuple(
        replace(step, attributes={**step.attributes, **given}) if step.name in named else step
        for step in network.steps
    )
    return replace(network, steps=changed)


def with_biases(network: Network, added: Mapping[str, Tensor]) -> Network:
    """Give products other biases, also those that had none.

    Args:
        added: by step name, (outputs,) dense float32.

    Raises:
        ValueError: no product has that name.
    """
    known, weights = products(network), dict(network.weights)
    names: dict[str, str] = {}
    for step, tensor in added.items():
        if step not in known:
            raise ValueError(f"no product is called {step!r}; there are {', '.join(known)}")
        names[step] = unused(f"{step}:bias", weights)
        weights[names[step]] = tensor
    steps = tuple(
        replace(step, inputs={**step.inputs, "bias": names[step.name]})
        if step.name in names
        else step
        for step in network.steps
    )
    return replace(network, steps=steps, weights=only_read(network, steps, weights))


def _reading(step: Step, weight: str, layout: Layout) -> Step:
    kept = {key: value for key, value in step.attributes.items() if key == "activation"}
    turned = {"batch_first": True} if layout in SPARSE else {}
    inputs = {**step.inputs, "weight": weight}
    return replace(step, operator=OPERATORS[layout], inputs=inputs, attributes=kept | turned)


def only_read(
    network: Network, steps: tuple[Step, ...], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The weights that steps or outputs of a network read."""
    read = {value for step in steps for value in step.inputs.values()} | set(network.outputs)
    return {name: weight for name, weight in weights.items() if name in read}


def _plain(name: str) -> str:
    """The name of a weight without the layout that it was given here."""
    before, _, layout = name.rpartition(":")
    return before if layout.rstrip("'") in set(Layout) else name


def unused(name: str, taken: Mapping[str, Tensor]) -> str:
    """A name like the given one that no weight has."""
    while name in taken:
        name += "'"
    return name
