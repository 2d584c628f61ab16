"""What gfx803 assembly says of a kernel: registers, memory, loops, and what a trip of one issues.

Counts, not times: the compiler's account of what fits and what is issued.
"""

import re
from collections import Counter
from dataclasses import dataclass

WAVE = 64  # work-items of a wavefront
SIMDS = 4  # per compute unit
MOST_WAVES = 10  # per SIMD
VECTOR_FILE, SCALAR_FILE = 256, 800  # registers per SIMD
VECTOR_GRANULE, SCALAR_GRANULE = 4, 16
LOCAL_FILE, LOCAL_GRANULE = 65536, 512  # bytes of local memory per compute unit

_INSTRUCTION = re.compile(r"^\t([svdfb][a-z]*_\w+)(?:\s+(.*?))?\s*(?:;.*)?$")
_LABEL = re.compile(r"^(\.LBB\d+_\d+):")
_BRANCH = re.compile(r"^s_c?branch")
_WIDTHS = {"ubyte": 1, "sbyte": 1, "ushort": 2, "sshort": 2, "dword": 4}
_WIDTHS |= {f"dwordx{count}": 4 * count for count in (2, 3, 4)}
_LOAD = re.compile(r"^flat_load_(\w+)$")
_PRODUCT = re.compile(r"^v_(mac|mad|madak|madmk)_(f32|[iu]32_[iu]24)")
_SHARED_BY_TWO = re.compile(r"^v_mad_[iu]32_[iu]24")  # an operand holds weights of two rows


@dataclass(frozen=True, slots=True)
class Loop:
    """Operation codes of an innermost loop, in order."""

    operations: tuple[str, ...]

    @property
    def vector(self) -> int:
        """Instructions of the vector unit."""
        return sum(name.startswith("v_") for name in self.operations)

    @property
    def products(self) -> int:
        """Multiplications with addition, two for an operand of two rows."""
        return sum(
            2 if _SHARED_BY_TWO.match(name) else 1
            for name in self.operations
            if _PRODUCT.match(name)
        )

    @property
    def loads(self) -> Counter[str]:
        """Loads from global memory by width, like {"dwordx4": 2}."""
        found = (_LOAD.match(name) for name in self.operations)
        return Counter(match[1] for match in found if match)

    @property
    def loaded(self) -> int:
        """Bytes that a work-item loads from global memory in a trip."""
        return sum(_WIDTHS[width] * count for width, count in self.loads.items())


@dataclass(frozen=True, slots=True)
class Built:
    """What the compiler says of one kernel."""

    vector_registers: int
    scalar_registers: int
    local_bytes: int
    scratch_bytes: int
    spills: int
    group: int
    code_bytes: int
    operations: tuple[str, ...]
    loops: tuple[Loop, ...]  # the innermost ones

    @property
    def hot(self) -> Loop | None:
        """The innermost loop with most products, then vector instructions; None without loops."""
        return max(self.loops, key=lambda loop: (loop.products, loop.vector), default=None)

    @property
    def waves(self) -> int:
        """Wavefronts that a SIMD can hold of it."""
        by_vector = VECTOR_FILE // _whole(self.vector_registers, VECTOR_GRANULE)
        by_scalar = SCALAR_FILE // _whole(self.scalar_registers, SCALAR_GRANULE)
        waves = min(MOST_WAVES, by_vector, by_scalar)
        if not self.local_bytes:
            return waves
        groups = LOCAL_FILE // _whole(self.local_bytes, LOCAL_GRANULE)
        return min(waves, groups * (self.group // WAVE) // SIMDS)


def read(assembly: str, entry: str) -> Built:
    """Find a kernel function in assembly made for amdgcn-amd-amdhsa.

    Raises:
        ValueError: there is no such kernel.
    """
    described = next(
        (
            text
            for text in assembly.split("  - .args:")[1:]
            if re.search(rf"\.name: +{entry}\n", text)
        ),
        None,
    )
    body = re.search(rf"^{entry}:.*?^\.Lfunc_end", assembly, re.M | re.S)
    if described is None or body is None:
        raise ValueError(f"the assembly holds no kernel {entry!r}")
    lines = body[0].splitlines()
    size = re.search(r"codeLenInByte = (\d+)", assembly[body.end() :])
    return Built(
        vector_registers=_number(described, "vgpr_count"),
        scalar_registers=_number(described, "sgpr_count"),
        local_bytes=_number(described, "group_segment_fixed_size"),
        scratch_bytes=_number(described, "private_segment_fixed_size"),
        spills=_number(described, "vgpr_spill_count") + _number(described, "sgpr_spill_count"),
        group=_number(described, "max_flat_workgroup_size"),
        code_bytes=int(size[1]) if size else 0,
        operations=tuple(match[1] for line in lines if (match := _INSTRUCTION.match(line))),
        loops=_innermost(lines),
    )


def _innermost(lines: list[str]) -> tuple[Loop, ...]:
    """Spans from a label to a branch back to it that hold no other such span."""
    labels: dict[str, int] = {}
    operations: list[str] = []
    spans: list[tuple[int, int]] = []
    for line in lines:
        if label := _LABEL.match(line):
            labels[label[1]] = len(operations)
        elif found := _INSTRUCTION.match(line):
            operations.append(found[1])
            if _BRANCH.match(found[1]) and found[2] in labels:
                spans.append((labels[found[2]], len(operations)))
    return tuple(
        Loop(tuple(operations[start:end]))
        for start, end in sorted(set(spans))
        if not any(
            (start, end) != other and start <= other[0] and other[1] <= end for other in spans
        )
    )


def _number(described: str, key: str) -> int:
    found = re.search(rf"\.{key}: +(\d+)", described)
    if found is None:
        raise ValueError(f"the compiler does not tell {key}")
    return int(found[1])


def _whole(count: int, granule: int) -> int:
    return max(-(-count // granule) * granule, granule)
