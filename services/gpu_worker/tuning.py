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
    tile_from: int | None  # rows of x from which tiles in local memory pay; None: never
    columns_from: int  # columns of x from which spmm_csr reads them as vectors
    column_vecs: tuple[int, ...]  # columns per work-item and load, ascending
    lanes_per_row: tuple[int, ...]  # work-items per sparse row, ascending; near its mean length

    @property
    def batches(self) -> tuple[int, ...]:
        """Rows of x at which another kernel variant takes over, ascending."""
        starts = {
            *self.xrows,
            *self.code_xrows,
            self.columns_from,
            *self.column_vecs,
            self.tile_from or 1,
        }
        return tuple(sorted(starts))


CARD = Tuning(
    group=64,
    lanes=64,
    vec=4,
    aligned=True,
    xrows=(1, 2),
    code_xrows=(1,),  # two rows of x beside 16 decoded codes leave a SIMD five waves
    wrows=2,
    tile_from=17,
    columns_from=4,
    column_vecs=(4,),
    lanes_per_row=(4, 8, 16, 32, 64),
)
PROCESSOR = Tuning(
    group=64,
    lanes=1,
    vec=16,
    aligned=False,
    xrows=(1, 4),
    code_xrows=(1, 4),
    wrows=4,
    tile_from=None,
    columns_from=8,
    column_vecs=(8, 16),
    lanes_per_row=(1,),
)


def of_class(worker_class: str) -> Tuning:
    """The tunables for a class of workers; every class that is not a processor is a card."""
    return PROCESSOR if worker_class == "gpu-pocl" else CARD
