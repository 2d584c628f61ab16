"""What a job asks of a device, as far as its frame tells; nothing is unpacked."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from shared.contracts.v1.jobs import InferBody, JobSubmitted, OperatorBody, TensorRef
from shared.operators import catalog
from shared.operators.spec import OperatorSpec, Types
from shared.placement.cost import StepWork, Work
from shared.tensors import header, layouts
from shared.tensors.dtypes import Dtype
from shared.tensors.header import Entry, Header
from shared.tensors.layouts import SPARSE, Layout, TensorType
from shared.tensors.packing import WORD_BITS


@dataclass(frozen=True, slots=True)
class Demand:
    """Work of one job. For `infer` the steps are empty: they depend on the model's variant."""

    work: Work
    rows: int = 1  # batch of an inference


NONE = Demand(Work(steps=()))


def of(job: JobSubmitted, head: Header | None) -> Demand:
    """Weigh a job by its body and the header of its frame; zero where it cannot be known."""
    match job.body:
        case OperatorBody() as body:
            return _operator(body, types(job.tensors, head), job.tensors, head)
        case InferBody() as body:
            shapes = [kind.shape for kind in types(job.tensors, head).values()]
            rows = max((shape[0] or 1 for shape in shapes if shape), default=1)
            moved = _inline(head) + _referred(job.tensors)
            return Demand(Work((), upload=moved, repeat=body.repeat), rows=max(1, rows))
        case _:
            return NONE


def types(refs: Mapping[str, TensorRef], head: Header | None) -> dict[str, TensorType]:
    """The types of a job's tensors, inline and referred to; empty when the header is broken."""
    try:
        return _inline_types(head) | {name: _ref_type(ref) for name, ref in refs.items()}
    except (ValueError, KeyError, TypeError):  # foreign JSON: the worker answers with the detail
        return {}


def _operator(
    body: OperatorBody, given: Types, refs: Mapping[str, TensorRef], head: Header | None
) -> Demand:
    moved = _inline(head) + _referred(refs)
    try:
        spec = catalog.spec(body.operator)
        _require_ports(spec, given)
        defaults = {a.name: a.default for a in spec.attributes if a.default is not None}
        attributes = defaults | body.attributes
        outputs = spec.infer(given, attributes)
        cost = spec.cost(given, attributes)
    except (ValueError, KeyError, TypeError):  # wrong call: the worker answers with the detail
        return Demand(Work((), upload=moved, repeat=body.repeat))
    sparse = any(kind.layout in SPARSE for kind in given.values())
    back = sum(_dense_bytes(kind) for kind in outputs.values())
    return Demand(Work((StepWork(cost, sparse),), moved, back, body.repeat))


def _require_ports(spec: OperatorSpec, given: Types) -> None:
    missing = [p.name for p in spec.inputs if not p.optional and p.name not in given]
    if missing:
        raise ValueError(f"{spec.name} lacks {', '.join(missing)}")


def _inline_types(head: Header | None) -> dict[str, TensorType]:
    if head is None:
        return {}
    size = max((_end(value) for value in head.tensors.values()), default=0)
    stored = {entry.name: entry for entry in head.entries(size)}
    found: dict[str, TensorType] = {}
    for name, value in header.json_object(head.text.get("layouts", "{}"), "layouts").items():
        found[name] = _laid_out(name, value, stored)
    dense = {n: TensorType(Layout.DENSE, e.dtype, e.shape) for n, e in stored.items()}
    return found | dense


def _laid_out(name: str, value: object, stored: dict[str, Entry]) -> TensorType:
    """The type of a tensor kept in parts; its parts leave `stored`."""
    if not isinstance(value, dict):
        raise ValueError(f"layout of {name!r} is {value!r:.80}")
    layout, dtype = Layout(value["layout"]), Dtype(value.get("dtype", "f32"))
    parts = [stored.pop(f"{name}.{part}") for part in layouts.parts_of(layout, dtype)]
    held = {part.name.removeprefix(f"{name}."): part for part in parts}
    count = prod(held["values"].shape) if "values" in held else 0  # the padding of SELL included
    shape = header.require_shape(name, value["shape"])
    nbytes = sum(part.end - part.start for part in parts)
    return layouts.described(layout, dtype, shape, nbytes, count)


def _end(value: object) -> int:
    return int(value["data_offsets"][1]) if isinstance(value, dict) else 0


def _inline(head: Header | None) -> int:
    """Bytes of all inline tensors."""
    if head is None:
        return 0
    try:
        return max((_end(value) for value in head.tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, IndexError):  # foreign JSON, as above
        return 0


def _referred(refs: Mapping[str, TensorRef]) -> int:
    return sum(ref.blob.size for ref in refs.values())


def _ref_type(ref: TensorRef) -> TensorType:
    layout, dtype = Layout(ref.layout), Dtype(ref.dtype)
    stored = _elements(layout, dtype, ref) if layout in SPARSE else 0
    return layouts.described(layout, dtype, ref.shape, ref.blob.size, stored)


def _elements(layout: Layout, dtype: Dtype, ref: TensorRef) -> int:
    """Stored elements that so many bytes can hold: what the layout adds to each is taken off."""
    if len(ref.shape) != 2:
        raise ValueError(f"{layout} needs two dimensions, got shape {ref.shape}")
    (rows, cols), held, each = ref.shape, ref.blob.size, float(dtype.itemsize)
    match layout:
        case Layout.BLOCK:  # an index for a whole block
            pass
        case Layout.NM:  # half a byte for the place in the group
            each += 0.5
        case Layout.BITMASK:  # a bit for every element of the matrix
            held -= 4 * rows * -(-cols // WORD_BITS) + 4 * (rows + 1)
        case _:  # an index of its own
            each += 4
    return max(0, int(held / each))


def _dense_bytes(kind: TensorType) -> int:
    return prod(size or 1 for size in kind.shape) * kind.dtype.itemsize
