"""The ways to store a weight among which one is chosen: their bytes, and what they should cost.

Bytes are exact; seconds are a model whose only purpose is to say which few to try:

    seconds = launch + places * (per_place + columns * per_product)

A place is a stored value with its padding. What decides is a trial, see `choose`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.sparse import convert, features, narrow
from shared.sparse.features import Features
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import COMPACT, SLICE, Layout, Tensor
from shared.tensors.packing import WORD_BITS

VALUES = (Dtype.F32, Dtype.F16, Dtype.I8)
MAX_DENSE = 2**29  # elements of a dense copy: 2 GiB
MOST_PADDING = 4.0  # stored places for each element, beyond which a layout is out of the question
LAUNCH = 5e-6  # [s] of any product, whatever its size


@dataclass(frozen=True, slots=True)
class Candidate:
    """A layout with all that it leaves open."""

    layout: Layout
    dtype: Dtype = Dtype.F32
    block: int | None = None  # height and width, for BLOCK
    pattern: tuple[int, int] | None = None  # n of m, for N:M

    @property
    def name(self) -> str:
        """As reports and caches call it; no two candidates share one."""
        if self.layout is Layout.DENSE:
            return "dense"
        form = f" {self.block}x{self.block}" if self.block else ""
        form += f" {self.pattern[0]}:{self.pattern[1]}" if self.pattern else ""
        return f"{self.layout}{form} {self.dtype}"


@dataclass(frozen=True, slots=True)
class Rate:
    """What a layout takes of a device [s]."""

    per_place: float  # to find a stored place and its column
    per_product: float  # for every column of x
    conversion: float  # of one element of a CSR matrix, once


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with what is known of it before it is tried."""

    candidate: Candidate
    seconds: float  # expected of one product
    conversion_s: float  # expected
    nbytes: int


# Fitted to ops/bench/results/choosing.json; they rank, no more.
CPU: Mapping[Layout, Rate] = {
    Layout.DENSE: Rate(1.7e-10, 1.4e-11, 8e-9),
    Layout.CSR: Rate(2.4e-10, 3.4e-11, 1.4e-9),
    Layout.CSC: Rate(2.5e-10, 3.4e-11, 1.7e-8),
    Layout.SELL: Rate(2.3e-10, 3.3e-11, 1.8e-8),
    Layout.BITMASK: Rate(2.45e-10, 3.4e-11, 2.2e-8),
    Layout.BLOCK: Rate(1.8e-10, 1.5e-11, 5.7e-8),
    Layout.NM: Rate(2.8e-10, 3.8e-11, 5.4e-8),
}
DENSE = Candidate(Layout.DENSE)
_PATTERNS = tuple((n, m) for m in features.GROUPS for n in range(1, m // 2 + 1))
EVERY: Mapping[str, Candidate] = {
    candidate.name: candidate
    for candidate in (
        DENSE,
        *(
            Candidate(layout, dtype)
            for layout in (Layout.CSR, Layout.CSC, Layout.SELL, Layout.BITMASK)
            for dtype in VALUES
        ),
        *(Candidate(Layout.BLOCK, d, block=size) for size in features.BLOCKS for d in VALUES),
        *(Candidate(Layout.NM, dtype, pattern=p) for p in _PATTERNS for dtype in VALUES),
    )
}


def fitting(found: Features, dtype: Dtype = Dtype.F32) -> tuple[Candidate, ...]:
    """Every candidate that can hold a matrix without absurd padding; sparse ones of one type.

    CSR always can; dense is left out of what would take over 2 GiB.
    """
    return tuple(
        candidate
        for candidate in EVERY.values()
        if candidate.layout is Layout.DENSE or candidate.dtype is dtype
        if fits(candidate, found)
    )


def fits(candidate: Candidate, found: Features) -> bool:
    """Whether a candidate can hold a matrix without absurd padding."""
    match candidate.layout:
        case Layout.DENSE:
            return found.rows * found.cols <= MAX_DENSE
        case Layout.CSR:
            return True
        case Layout.NM:
            n, m = candidate.pattern or (0, 1)
            if found.most[features.GROUPS.index(m)] != n:
                return False  # it does not hold the matrix, or a smaller n does
    return places(candidate, found) <= MOST_PADDING * max(found.nonzeros, 1)


def ranked(
    found: Features, columns: int, dtype: Dtype, rates: Mapping[Layout, Rate] = CPU
) -> tuple[Ranked, ...]:
    """Fitting candidates with what they should cost, the fastest first.

    Args:
        columns: of x.
        dtype: of stored values.
        rates: of the device.
    """
    known = [_ranked(candidate, found, columns, rates) for candidate in fitting(found, dtype)]
    return tuple(sorted(known, key=lambda one: (one.seconds, one.candidate.name)))


def places(candidate: Candidate, found: Features) -> int:
    """Stored values, padding included."""
    match candidate.layout:
        case Layout.DENSE:
            return found.rows * found.cols
        case Layout.SELL:
            return found.slots
        case Layout.BLOCK:
            size = candidate.block or 1
            return found.blocks[features.BLOCKS.index(size)] * size * size
        case Layout.NM:
            n, m = candidate.pattern or (0, 1)
            return found.rows * -(-found.cols // m) * n
    return found.nonzeros


def nbytes(candidate: Candidate, found: Features) -> int:
    """Exact bytes of all parts, with 16-bit indices where they suffice."""
    stored = places(candidate, found)
    values = stored * candidate.dtype.itemsize
    rows, cols = found.rows, found.cols
    scaled = candidate.dtype is Dtype.I8
    match candidate.layout:
        case Layout.DENSE:
            return 4 * stored
        case Layout.CSR:
            return 4 * (rows + 1) + stored * _index(cols) + values + 4 * rows * scaled
        case Layout.CSC:
            return 4 * (cols + 1) + stored * _index(rows) + values + 4 * cols * scaled
        case Layout.SELL:
            starts = 4 * (-(-rows // SLICE) + 1)
            return starts + 8 * rows + stored * _index(cols) + values + 4 * rows * scaled
        case Layout.BITMASK:
            words = 4 * rows * -(-cols // WORD_BITS)
            return words + 4 * (rows + 1) + values + 4 * rows * scaled
        case Layout.BLOCK:
            size = candidate.block or 1
            blocks = stored // (size * size)
            down, across = -(-rows // size), -(-cols // size)
            return 4 * (down + 1) + blocks * (_index(across) + 4 * scaled) + values
        case Layout.NM:
            kept = stored // max(rows, 1)
            return 8 + rows * -(-kept // 2) + values + 4 * rows * scaled
    raise ValueError(f"{candidate.layout} is no candidate")


def laid_out(tensor: Tensor, candidate: Candidate) -> Tensor:
    """A matrix as a candidate stores it, with 16-bit indices where they suffice.

    Args:
        tensor: a sparse layout, or DENSE f32.

    Raises:
        ValueError: the candidate cannot hold it, or parts that do not fit (see tensors.check).
    """
    if candidate.layout is Layout.DENSE:
        return convert.to_layout(tensor, Layout.DENSE)
    size = candidate.block or features.BLOCKS[0]
    made = convert.to_layout(
        tensor, candidate.layout, block=(size, size), pattern=candidate.pattern
    )
    return narrow.compact(narrow.narrow(made, candidate.dtype))


def _ranked(
    candidate: Candidate, found: Features, columns: int, rates: Mapping[Layout, Rate]
) -> Ranked:
    rate = rates[candidate.layout]
    each = rate.per_place + columns * rate.per_product
    seconds = LAUNCH + places(candidate, found) * each
    conversion = rate.conversion * found.nonzeros
    return Ranked(candidate, seconds, conversion, nbytes(candidate, found))


def _index(places_: int) -> int:
    """Bytes of an index of so many places."""
    return 2 if places_ <= COMPACT else 4
