"""One kernel as a card launches it: file, function, defines, and the registers it may use."""

from collections.abc import Mapping
from dataclasses import dataclass, field

STREAM, TILE = 40, 64  # vector registers: six waves per SIMD hide memory, four feed a tile
Defines = Mapping[str, int | str]


@dataclass(frozen=True, slots=True)
class Trip:
    """What one trip of a kernel's hot loop reads, as it is written; a compiler may unroll it."""

    weights: int  # weights per work-item
    loaded: int  # bytes per work-item, of everything


@dataclass(frozen=True, slots=True)
class Configuration:
    """A kernel with one set of defines."""

    operator: str  # name of the file
    entry: str  # the kernel function
    defines: Defines = field(default_factory=dict)
    budget: int = STREAM  # vector registers at most
    trip: Trip | None = None  # None where no loop reads weights

    @property
    def label(self) -> str:
        """A name like gemm_f32_rows-ALIGNED1-XROWS2, unique among the configurations."""
        return "-".join((self.entry, *(f"{k}{v}" for k, v in sorted(self.defines.items()))))
