"""Hold a call against its spec before anything is computed; every backend asks here."""

from collections.abc import Iterable
from difflib import get_close_matches
from math import isnan

from shared.operators.spec import Attribute, Attributes, OperatorSpec, Port, Scalar, Types
from shared.tensors.layouts import TensorType


def call(spec: OperatorSpec, inputs: Types, attributes: Attributes) -> Attributes:
    """Check ports, attributes and shapes; return the attributes with every default filled in.

    Raises:
        ValueError: naming the operator, what does not fit, and the nearest valid name.
    """
    try:
        ports(spec, inputs)
        filled = complete(spec, attributes)
        spec.infer(inputs, filled)
    except ValueError as error:
        raise ValueError(f"{spec.name}: {error}") from None
    return filled


def ports(spec: OperatorSpec, inputs: Types) -> None:
    """Check that each input belongs to a port of its layout and element type.

    Raises:
        ValueError: a port is missing or unknown, or takes another layout or element type.
    """
    known = {port.name: port for port in spec.inputs}
    for name, given in inputs.items():
        if name not in known:
            raise ValueError(f"no port {name!r}; {nearest(name, known)}")
        _port(known[name], given)
    for port in spec.inputs:
        if not port.optional and port.name not in inputs:
            raise ValueError(f"port {port.name!r} is missing; given: {', '.join(inputs) or 'none'}")


def complete(spec: OperatorSpec, attributes: Attributes) -> dict[str, Scalar]:
    """The attributes of a call with every default filled in.

    Raises:
        ValueError: an attribute is missing, unknown, of another kind, or not one of its choices.
    """
    known = {attribute.name: attribute for attribute in spec.attributes}
    for name in attributes:
        if name not in known:
            raise ValueError(f"no attribute {name!r}; {nearest(name, known)}")
    return {
        name: _scalar(attribute, attributes.get(name, attribute.default))
        for name, attribute in known.items()
    }


def nearest(name: str, known: Iterable[str]) -> str:
    """The half of a sentence that helps after a wrong name: the nearest one, or all."""
    names = sorted(known)
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(names) or 'none'}"


def _port(port: Port, given: TensorType) -> None:
    if given.layout is not port.layout:
        raise ValueError(f"port {port.name!r} takes layout {port.layout}, got {given.layout}")
    if given.dtype not in port.dtypes:
        wanted = ", ".join(port.dtypes)
        raise ValueError(f"port {port.name!r} takes {wanted}, got {given.dtype}")


def _scalar(attribute: Attribute, value: Scalar | list[int] | None) -> Scalar:
    if value is None:
        raise ValueError(f"attribute {attribute.name!r} is missing: {attribute.meaning}")
    if attribute.kind is float and type(value) is int:
        value = float(value)
    if isinstance(value, list):  # JSON has no tuples
        value = tuple(value)
    kind = attribute.kind.__name__
    if type(value) is not attribute.kind:
        raise ValueError(f"attribute {attribute.name!r} is a {kind}, got {value!r:.80}")
    if isinstance(value, float) and isnan(value):
        raise ValueError(f"attribute {attribute.name!r} must be a number, got nan")
    if isinstance(value, tuple) and any(type(item) is not int for item in value):
        raise ValueError(f"attribute {attribute.name!r} holds integers, got {value!r:.80}")
    if attribute.choices and value not in attribute.choices:
        hint = nearest(str(value), map(str, attribute.choices))
        raise ValueError(f"attribute {attribute.name!r} cannot be {value!r:.80}; {hint}")
    return value
