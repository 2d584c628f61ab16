"""Tunables per class of device: what a card and a processor want differently from one kernel."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tuning:
    """How products are cut into work-items; the kernels explain each define.

    `lanes` is 1 on a processor: a work-item there is a loop of its own with wide vectors, and
    sharing a sum between work-items would only cost barriers.
    """

    group: int  # work-items per group of the block kernels
    lanes: int  # work-items that share one block of outputs
    vec: int  # float32 per load of a block
    aligned: bool  # whether loads that are promised their alignment are faster
    xrows: tuple[int, ...]  # rows of x per block, ascending; the largest that x fills is used
    code_xrows: tuple[int, ...]  # the same where the weight is made of codes
    wrows: int  # rows of the weight per block
    nibble_xrows: tuple[int, ...]  # as xrows, for codes of 4 bits
    byte_xrows: tuple[int, ...]  # as xrows, for codes of 4 bits and activations of 8
    nibble_wrows: int  # as wrows, for codes of 4 bits; even
    tile_from: int | None  # rows of x from which tiles in local memory pay; None: never
    columns_from: int  # columns of x from which sparse products read them as vectors
    column_vecs: tuple[int, ...]  # columns per load of a sparse product, ascending
    spans: tuple[int, ...]  # loads of x per element of a sparse weight, ascending
    lanes_per_row: tuple[int, ...]  # work-items per sparse row, ascending; near its mean length
    row_batches: tuple[int, ...]  # columns that they sum up at once, ascending
    words: bool  # whether stored values below 32 bits are read by whole words
    uniform_from: int | None  # columns of x from which a group is one sparse row; None: never
    uniform_vecs: tuple[int, ...]  # columns per load then, ascending
    block_batches: tuple[int, ...]  # as row_batches, for weights in blocks
    tall: int  # rows of a block per work-item
    uniform_tall: int  # the same where a group is one sparse row
    item_group: int | None = None  # as group, for functions of elements; None: the kernel's own

    @property
    def batches(self) -> tuple[int, ...]:
        """Rows of x at which another kernel variant takes over, ascending."""
        starts = {
            *self.xrows,
            *self.code_xrows,
            *self.nibble_xrows,
            *self.byte_xrows,
            *self.row_batches,
            self.columns_from,
            *self.column_vecs,
            *(vec * (span - 1) + 1 for vec in self.column_vecs for span in self.spans),
            self.tile_from or 1,
        }
        return tuple(sorted(starts))

    @property
    def items(self) -> dict[str, int | str]:
        """Defines of kernels that take elements one by one."""
        return {} if self.item_group is None else {"GROUP": self.item_group}

    def block_vecs(self, n: int) -> tuple[int, ...]:
        """Columns per load of products with weights in blocks, for n columns of x."""
        whole_groups = self.uniform_from is not None and n >= self.uniform_from
        return (1,) if whole_groups else self.column_vecs  # more would not fit scalar registers


CARD = Tuning(
    group=64,
    lanes=64,
    vec=4,
    aligned=True,
    xrows=(1, 2),
    code_xrows=(1,),  # two rows of x beside 16 decoded codes leave a SIMD five waves
    wrows=2,
    nibble_xrows=(1,),
    byte_xrows=(1, 2),
    nibble_wrows=4,  # two words: a load of x is used twice as often as with one
    tile_from=17,
    columns_from=4,
    column_vecs=(4,),
    spans=(1,),
    lanes_per_row=(4, 8, 16, 32, 64),
    row_batches=(1, 2),
    words=True,
    uniform_from=64,
    uniform_vecs=(1, 2, 4),
    block_batches=(1,),  # two leave a SIMD five waves
    tall=4,
    uniform_tall=16,
)
PROCESSOR = Tuning(
    group=64,
    lanes=1,
    vec=16,
    aligned=False,
    xrows=(1, 4),
    code_xrows=(1, 4),
    wrows=4,
    nibble_xrows=(1, 4),
    byte_xrows=(1, 4),
    nibble_wrows=4,
    tile_from=None,
    columns_from=8,
    column_vecs=(8, 16),
    spans=(1, 2, 4),
    lanes_per_row=(1,),
    row_batches=(1, 2, 4),
    words=False,
    uniform_from=None,
    uniform_vecs=(),
    block_batches=(1, 2, 4),
    tall=4,
    uniform_tall=4,
)


def of_class(worker_class: str) -> Tuning:
    """The tunables for a class of workers; every class that is not a processor is a card."""
    return PROCESSOR if worker_class == "gpu-pocl" else CARD
