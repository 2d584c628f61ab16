"""Shape classes: calls that are alike enough to be launched with the same tuned values."""

from math import prod

from shared.operators.spec import Attributes, Types
from shared.tensors.layouts import SPARSE, TensorType

SMALL = ("bias",)  # ports that no launch depends on


def of(
    types: Types, attributes: Attributes, *, flat: bool = False, telling: tuple[str, ...] = ()
) -> str:
    """The class of a call: layout, element type and log2 of the sizes of each input.

    Args:
        types: of the inputs.
        attributes: complete.
        flat: whether only the number of elements counts, not their arrangement.
        telling: the attributes that choose between kernels.

    Returns:
        Such as ``weight=csr.f32:12,12/8 x=dense.f32:5,12``: 4096 to 8191 rows and columns, 256 to
        511 stored elements per row, 32 to 63 rows of x.
    """
    ports = sorted(port for port in types if port not in SMALL)
    words = [f"{port}={_tensor(types[port], flat=flat)}" for port in ports]
    return " ".join((*words, *(f"{name}={attributes[name]}" for name in telling)))


def _tensor(kind: TensorType, *, flat: bool) -> str:
    sizes = [size or 0 for size in kind.shape]
    lead = prod(sizes[:-1])
    buckets = [prod(sizes)] if flat else [lead, sizes[-1]] if len(sizes) > 1 else sizes
    text = f"{kind.layout}.{kind.dtype}:{','.join(_bucket(size) for size in buckets)}"
    if kind.layout in SPARSE:
        text += f"/{_bucket((kind.nonzeros or 0) // max(lead, 1))}"
    return text


def _bucket(size: int) -> str:
    """floor(log2(size)); `-` for none."""
    return str(size.bit_length() - 1) if size > 0 else "-"
