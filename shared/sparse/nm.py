"""N:M: of every m neighbouring columns, n are stored, with a nibble each for the place.

Every row has equally many stored elements, so nothing but the places inside groups is written. A
group with fewer non-zeros than n keeps zeros at its first unused places. The last group may be
narrower than m, even than n: then its last place repeats with zeros.
"""

import numpy as np
import numpy.typing as npt

from shared.sparse import compressed, order
from shared.sparse.compressed import Axis, Compressed
from shared.tensors import packing
from shared.tensors.check_sparse import MAX_GROUP
from shared.tensors.dtypes import F32, U8, Array, Dtype
from shared.tensors.layouts import Layout, Tensor

U16 = npt.NDArray[np.uint16]
GROUP = 4  # columns of a group where nobody says otherwise


def pack(matrix: Compressed, *, pattern: tuple[int, int] | None = None) -> Tensor:
    """Store n of every m columns; elements of value zero need no place.

    Args:
        matrix: (rows, cols), any value type; read as float32.
        pattern: n and m, 1 <= n <= m <= 16; None for the smallest n of 4 that holds the matrix.

    Returns:
        NM f32, places of a group rising.

    Raises:
        ValueError: a group has more than n elements that are not zero, the pattern is none, or
            parts that do not fit (see tensors.check).
    """
    held = compressed.canonical(compressed.by_rows(matrix), drop_zeros=True)
    n, m = pattern or (_fitting(held), GROUP)
    if not 1 <= n <= m <= MAX_GROUP:
        raise ValueError(f"pattern must be n of m with 1 <= n <= m <= {MAX_GROUP}, got {n} of {m}")
    rows, cols = held.shape
    groups = -(-cols // m)
    group = order.lines(held.indptr).astype(np.int64) * groups + held.indices // m
    _require_fit(np.bincount(group, minlength=rows * groups), n, m, groups)
    used, places = _filled(n, m)
    bit = np.left_shift(1, held.indices % m)
    taken = np.bincount(group, weights=bit, minlength=rows * groups).astype(np.uint16)
    before = np.bitwise_count(used[taken[group]] & (bit - 1).astype(np.uint16))
    values = np.zeros(rows * groups * n, dtype=np.float32)
    values[group * n + before] = held.values
    kept = np.minimum(places[taken].reshape(rows, groups, n), _last(cols, m)[:, np.newaxis])
    parts: dict[str, Array] = {
        "pattern": np.array([n, m], dtype=np.int32),
        "positions": packing.join_places(kept.reshape(rows, groups * n)),
        "values": values.reshape(rows, groups * n),
    }
    return Tensor(Layout.NM, Dtype.F32, (rows, cols), parts)


def unpack(tensor: Tensor) -> Compressed:
    """The stored elements that are not zero, as CSR of float32.

    Args:
        tensor: NM f32 (see narrow.widened otherwise); its parts are trusted.
    """
    n, m = (int(number) for number in tensor.parts["pattern"])
    values: F32 = tensor.parts["values"].view(np.float32)
    packed: U8 = tensor.parts["positions"].view(np.uint8)
    line, at = np.nonzero(values)
    place = packed[line, at // 2] >> (at % 2 * 4).astype(np.uint8) & 0xF
    columns = (at // n * m + place).astype(np.int32)
    rows, cols = tensor.shape
    indptr = order.pointers(np.bincount(line, minlength=rows))
    found = Compressed(Axis.ROWS, (rows, cols), indptr, columns, values[line, at])
    return compressed.canonical(found)


def _fitting(matrix: Compressed) -> int:
    """The most elements of a group of GROUP columns, at least 1."""
    groups = -(-matrix.shape[1] // GROUP)
    group = order.lines(matrix.indptr).astype(np.int64) * groups + matrix.indices // GROUP
    return int(np.bincount(group, minlength=1).max()) or 1


def _require_fit(counts: order.I64, n: int, m: int, groups: int) -> None:
    over = np.flatnonzero(counts > n)
    if over.size:
        row, group = divmod(int(over[0]), groups)
        raise ValueError(
            f"row {row}, group {group} (columns {group * m} to {group * m + m - 1}) has "
            f"{counts[over[0]]} elements, {n}:{m} keeps {n}; prune to n of m first"
        )


def _filled(n: int, m: int) -> tuple[U16, U8]:
    """For every set of used places, the set with its first unused places added until n are used.

    Returns:
        (2^m,) that set as bits, and (2^m, n) uint8 its places, rising. Sets of more than n are
        cut to n; nothing asks for them.
    """
    sets = np.arange(2**m, dtype=np.uint32)
    bits = sets[:, np.newaxis] >> np.arange(m, dtype=np.uint32) & 1
    missing = np.maximum(n - bits.sum(axis=1, dtype=np.int64), 0)
    free = 1 - bits.astype(np.int64)
    filled = bits.astype(np.bool_) | ((free == 1) & (np.cumsum(free, axis=1) <= missing[:, None]))
    places = np.argsort(~filled, axis=1, kind="stable")[:, :n].astype(np.uint8)
    return (filled @ (1 << np.arange(m))).astype(np.uint16), places


def _last(cols: int, m: int) -> U8:
    """(groups,) the last place of each group that is a column."""
    first = np.arange(0, cols, m)
    return (np.minimum(first + m, cols) - first - 1).astype(np.uint8)
