"""How many bits a weight gets and how many weights share a scale."""

from dataclasses import dataclass, replace

from shared.tensors.layouts import Layout


@dataclass(frozen=True, slots=True)
class Scheme:
    """Symmetric signed integers: value = code × scale, and zero is exactly zero.

    `group` columns of a row share one scale; None means the whole row (one output channel). Codes
    of fewer bits than the layout stores use the middle of its range.
    """

    layout: Layout
    bits: int
    group: int | None

    @property
    def top(self) -> int:
        """The largest code. The smallest is its negative, so -2**(bits - 1) is never produced."""
        return (1 << (self.bits - 1)) - 1

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


def of(bits: int, group: int | None) -> Scheme:
    """The scheme of so many bits: up to four in nibbles by group, more in bytes by channel.

    Args:
        bits: 2..8.
        group: columns per scale, or None for one scale per row; over four bits always None.

    Raises:
        ValueError: bits out of range, a group that is not positive, or groups of over four bits.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"codes have 2 to 8 bits, got {bits}")
    if group is not None and group < 1:
        raise ValueError(f"a group has at least one column, got {group}")
    if bits <= 4:
        return Scheme(Layout.INT4_GROUP, bits, group)
    if group is not None:
        raise ValueError(f"codes of {bits} bits have one scale per row; groups are for 2 to 4 bits")
    return Scheme(Layout.INT8_CHANNEL, bits, None)


def int4_per_group(group: int) -> Scheme:
    """Four bits with one scale per `group` columns; 32, 64 and 128 are usual.

    Raises:
        ValueError: the group is not positive.
    """
    if group < 1:
        raise ValueError(f"a group has at least one column, got {group}")
    return Scheme(Layout.INT4_GROUP, bits=4, group=group)
