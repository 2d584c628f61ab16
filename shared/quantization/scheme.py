"""How many bits a weight gets and how many weights share a scale."""

from dataclasses import dataclass

from shared.tensors.layouts import Layout


@dataclass(frozen=True, slots=True)
class Scheme:
    """Symmetric signed integers: value = code × scale, and zero is exactly zero.

    `group` columns of a row share one scale; None means the whole row (one output channel).
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


INT8_PER_CHANNEL = Scheme(Layout.INT8_CHANNEL, bits=8, group=None)


def int4_per_group(group: int) -> Scheme:
    """Four bits with one scale per `group` columns; 32, 64 and 128 are usual.

    Raises:
        ValueError: the group is not positive.
    """
    if group < 1:
        raise ValueError(f"a group has at least one column, got {group}")
    return Scheme(Layout.INT4_GROUP, bits=4, group=group)
