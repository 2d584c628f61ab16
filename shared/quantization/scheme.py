"""How many bits a weight gets, how many weights share a scale, and whether zero has a code."""

from dataclasses import dataclass, replace
from typing import Literal

from shared.tensors.layouts import Layout

Sharing = int | Literal["row", "tensor"]  # columns of a row that share a scale, or more


@dataclass(frozen=True, slots=True)
class Scheme:
    """value = (code - zero) × scale, and zero is exactly zero.

    Symmetric: codes lie evenly around zero. Asymmetric: they cover just what a group holds, and
    every group has a zero of its own. `group` columns of a row share one scale; None means the
    whole row (one output channel), or with `per_tensor` all rows.
    """

    layout: Layout
    bits: int
    group: int | None
    symmetric: bool = True
    per_tensor: bool = False

    @property
    def top(self) -> int:
        """The largest symmetric code. The smallest is its negative: -2**(bits - 1) is not made."""
        return (1 << (self.bits - 1)) - 1

    @property
    def steps(self) -> int:
        """Steps from the smallest code to the largest."""
        return 2 * self.top if self.symmetric else (1 << self.bits) - 1

    def columns_per_scale(self, cols: int) -> int:
        """Columns that share a scale in rows of `cols` columns.

        Raises:
            ValueError: the group does not divide the row.
        """
        group = max(cols, 1) if self.group is None else self.group
        if cols % group:
            raise ValueError(f"groups of {group} do not divide rows of {cols} columns")
        return group

    def fitted(self, cols: int) -> "Scheme":
        """This scheme with the largest group up to its own that divides rows of `cols` columns.

        A group of a power of two is halved until it divides; a row of odd length gets one scale.
        """
        group = self.group
        while group is not None and group > 1 and cols % group:
            group //= 2
        if group == 1 and self.group != 1:
            group = None
        return replace(self, group=group)


INT8_PER_CHANNEL = Scheme(Layout.INT8_CHANNEL, bits=8, group=None)


def of(bits: int, sharing: Sharing | None = "row", *, symmetric: bool = True) -> Scheme:
    """The scheme of so many bits, in the layout that is fastest to multiply by.

    Bytes for 8 bits with a scale per row, nibbles for 4 bits by group or row, both symmetric; a
    stream of bits with a zero per scale for everything else.

    Args:
        bits: 2..8.
        sharing: columns of a row that share a scale, the whole "row" (also None), or the "tensor".
        symmetric: whether codes lie evenly around zero.

    Raises:
        ValueError: bits out of range, or a group that is not positive.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"codes have 2 to 8 bits, got {bits}")
    if isinstance(sharing, int) and sharing < 1:
        raise ValueError(f"a group has at least one column, got {sharing}")
    group = sharing if isinstance(sharing, int) else None
    if symmetric and sharing != "tensor":
        if bits == 8 and group is None:
            return INT8_PER_CHANNEL
        if bits == 4:
            return Scheme(Layout.INT4_GROUP, bits, group)
    return Scheme(Layout.INT_GROUP, bits, group, symmetric, per_tensor=sharing == "tensor")


def int4_per_group(group: int) -> Scheme:
    """Four bits with one scale per `group` columns; 32, 64 and 128 are usual.

    Raises:
        ValueError: the group is not positive.
    """
    return of(4, group)
