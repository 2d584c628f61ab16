"""Hold a call against its spec before anything is computed; every backend asks here."""

from collections.abc import Iterable
from difflib import get_close_matches
from math import isinf

from shared.operators.spec import Attribute, Attributes, OperatorSpec, Port, Scalar, Types
from shared.tensors.layouts import TensorType

MAX_PASSED = 4096  # calls that a backend remembers
MAX_INTEGERS = 32  # of one attribute; no shape has more dimensions
MAX_FLOAT32 = 3.4028234663852886e38


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


class Passed:
    """`call` for a backend that is asked the same again and again: what has passed, passes.

    Operator jobs repeat a call with the same types; looking it up is less work than checking it.
    """

    def __init__(self) -> None:
        self._passed: dict[object, Attributes] = {}

    def __len__(self) -> int:
        """Calls that are remembered."""
        return len(self._passed)

    def call(self, spec: OperatorSpec, inputs: Types, attributes: Attributes) -> Attributes:
        """As the function `call`.

        Raises:
            ValueError: as the function `call`.
        """
        given = tuple((name, type(value), value) for name, value in attributes.items())
        key = (spec.name, tuple(inputs.items()), given)
        try:
            known = self._passed.get(key)
        except TypeError:  # a list of JSON cannot be looked up
            return call(spec, inputs, attributes)
        return self._checked(key, spec, inputs, attributes) if known is None else known

    def _checked(
        self, key: object, spec: OperatorSpec, inputs: Types, attributes: Attributes
    ) -> Attributes:
        filled = call(spec, inputs, attributes)
        if len(self._passed) >= MAX_PASSED:
            self._passed.clear()
        self._passed[key] = filled
        return filled


def ports(spec: OperatorSpec, inputs: Types) -> None:
    """Check that each input belongs to a port of its layout and element type.

    Raises:
        ValueError: a port is missing or unknown, or takes another layout or element type.
    """
    known = {port.name: port for port in spec.inputs}
    for name, given in inputs.items():
        if name not in known:
            raise ValueError(f"no port {name!r:.80}; {nearest(name, known)}")
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
            raise ValueError(f"no attribute {name!r:.80}; {nearest(name, known)}")
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
    value = _in_kind(value, attribute.kind)
    if type(value) is not attribute.kind:
        kind = attribute.kind.__name__
        raise ValueError(f"attribute {attribute.name!r} is a {kind}, got {value!r:.80}")
    if isinstance(value, float) and not _is_float32(value):
        raise ValueError(f"attribute {attribute.name!r} is a float32, got {value}")
    if isinstance(value, tuple) and not _is_short(value):
        most = f"at most {MAX_INTEGERS} integers"
        raise ValueError(f"attribute {attribute.name!r} holds {most}, got {value!r:.80}")
    if attribute.choices and value not in attribute.choices:
        hint = nearest(str(value), map(str, attribute.choices))
        raise ValueError(f"attribute {attribute.name!r} cannot be {value!r:.80}; {hint}")
    return value


def _in_kind(value: Scalar | list[int], kind: type) -> Scalar:
    """Whole numbers become floats where those are wanted, lists tuples: JSON has neither."""
    if kind is float and type(value) is int:
        return float(value) if abs(value) <= MAX_FLOAT32 else value
    return tuple(value) if isinstance(value, list) else value


def _is_float32(value: float) -> bool:
    return isinf(value) or abs(value) <= MAX_FLOAT32


def _is_short(value: tuple[int, ...]) -> bool:
    return len(value) <= MAX_INTEGERS and all(type(item) is int for item in value)
