"""Order of stored elements: moving them in linear time, and taking foreign arrays as ours.

Nothing here looks at values: what moves is the number of an element, so every element type goes
the same way and no bit changes.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from shared.tensors import requirements
from shared.tensors.dtypes import I32, Array

Indices = npt.NDArray[np.int32 | np.uint16]
I64 = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32 | np.int64]  # of elements
_SPARSE_AXIS = 32  # places per element and line; timed: comparisons win from about 50 on


def pointers(counts: npt.NDArray[np.integer]) -> I32:
    """Where lines of `counts` elements start, and where the last one ends.

    Args:
        counts: (lines,) integers, not negative.

    Returns:
        (lines + 1,) int32.

    Raises:
        ValueError: more elements than int32 can count.
    """
    ends = np.cumsum(counts, dtype=np.int64)
    total = int(ends[-1]) if ends.size else 0
    if total > requirements.MAX_INDEX:
        limit = f"at most {requirements.MAX_INDEX} elements can be stored"
        raise ValueError(f"{limit}, got {total}; split the rows")
    return np.concatenate([[0], ends]).astype(np.int32)


def lines(indptr: I32) -> I32:
    """(stored,) int32: the line of each element."""
    return np.repeat(np.arange(indptr.size - 1, dtype=np.int32), np.diff(indptr))


def ascending(indptr: I32, indices: Indices, *, repeats: bool) -> bool:
    """Whether indices rise along each line; `repeats` says whether equal neighbours may be."""
    steps = np.diff(indices.astype(np.int32, copy=False))
    starts = indptr[(indptr > 0) & (indptr < indices.size)]
    steps[starts - 1] = 1  # from one line to the next anything goes
    return bool((steps >= 0).all() if repeats else (steps > 0).all())


def grouped(indptr: I32, indices: Indices, places: int) -> tuple[I32, I32, I32]:
    """Group elements by their index; those of one index keep their order. Linear in time.

    Args:
        indptr: (lines + 1,) int32.
        indices: (stored,), each below `places`.
        places: length of the axis that indices count.

    Returns:
        (places + 1,) where groups start, (stored,) the line of each element that moved, and
        (stored,) where it was before.
    """
    numbers = np.arange(indices.size, dtype=np.int32)
    shape = (indptr.size - 1, places)
    held = sparse.csr_array((numbers, indices, indptr), shape=shape, copy=False).tocsc()
    return (
        np.asarray(held.indptr, dtype=np.int32),
        np.asarray(held.indices, dtype=np.int32),
        np.asarray(held.data, dtype=np.int32),
    )


def by_place(indptr: I32, indices: Indices, places: int) -> Numbers:
    """Where elements were before they are sorted along each line; equal ones keep their order.

    Two groupings, by index and then by line, sort in linear time. They need memory for every place
    of the axis, so an axis with far more places than elements is sorted by comparisons.
    """
    if places > _SPARSE_AXIS * (indices.size + indptr.size):
        return np.lexsort((indices, lines(indptr)))
    starts, moved_lines, first = grouped(indptr, indices, places)
    _, _, second = grouped(starts, moved_lines, indptr.size - 1)
    return first[second]


def stored(indptr: Array, *parts: Array) -> int:
    """Elements that foreign pointers claim, when the parts hold as many and int32 can count them.

    Raises:
        ValueError: too many, or more than the parts hold.
    """
    count = int(np.asarray(indptr).max(initial=0))
    if count > requirements.MAX_INDEX:
        limit = f"at most {requirements.MAX_INDEX} elements can be stored"
        raise ValueError(f"{limit}, got {count}; split the rows")
    if short := [part.shape[0] for part in parts if part.shape[0] < count]:
        raise ValueError(f"indptr claims {count} elements, a part holds {short[0]}")
    return count


def int32(name: str, array: Array) -> I32:
    """Foreign integers as int32 of our byte order, shared where they are such already.

    Raises:
        ValueError: a number does not fit int32.
    """
    wide = np.asarray(array)
    top = requirements.MAX_INDEX
    if wide.dtype.kind not in "iu":
        raise ValueError(f"{name} must be integers, got {wide.dtype}")
    if wide.dtype.itemsize > 2 and wide.size:
        low, high = int(wide.min()), int(wide.max())
        if low < 0 or high > top:
            bad = low if low < 0 else high
            raise ValueError(f"{name} must be 0..{top} to fit int32, got {bad}")
    return np.ascontiguousarray(wide, dtype=np.int32)


def floats(array: Array) -> npt.NDArray[np.float32 | np.float16]:
    """Foreign float32 or float16 in our byte order, shared where they are such already.

    Raises:
        ValueError: another element type.
    """
    held = array.dtype.newbyteorder("<")
    if held not in (np.dtype("<f4"), np.dtype("<f2")):
        raise ValueError(
            f"values must be float32 or float16, got {array.dtype}; convert them first"
        )
    return np.ascontiguousarray(array, dtype=held)
