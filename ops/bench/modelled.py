"""What the products of `bench kernels` may take on an RX 580: modelled, never measured.

    t = launch + (x + y) / link + max(bytes / (256 GB/s · e_memory), flops / (peak(clock) · e_alu))

Each factor is an interval of what published code reached on this family of chips, so the result is
one too: the low end takes the best of every factor, the high end the worst. Weights are resident;
x and y cross the link for every call. Where nobody has published a figure for GCN, `e_alu` is the
share of multiply-adds among the vector instructions of the compiled kernel's hot loop: the largest,
the median and the least over its forms in results/silicon.json. These entries say so.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

BANDWIDTH = 256e9  # [byte/s] data sheet: GDDR5 of 8 Gbps on 256 bits
LANES = 2304
CLOCK = (1.34e9, 1.257e9, 1.0e9)  # [Hz] boost, base, what the power limit leaves
LAUNCH = (8e-6, 20e-6, 60e-6)  # [s]
LINK = (11e9, 6e9, 1e9)  # [byte/s] PCIe 3.0 as reached


class Range(NamedTuple):
    """Best, typical and worst of a factor."""

    best: float
    typical: float
    worst: float


@dataclass(frozen=True, slots=True)
class Efficiency:
    """Shares of bandwidth and of multiply-add peak, and where they come from."""

    memory: Range
    alu: Range
    source: str


SILICON = Path(__file__).parent / "results" / "silicon.json"


def issued(operator: str) -> Range:
    """Share of multiply-adds in the hot loops of an operator's forms: largest, median, least."""
    kernels = json.loads(SILICON.read_text())["kernels"]
    shares = [
        kernel["hot_products"] / kernel["hot_vector"]
        for kernel in kernels
        if kernel["operator"] == operator and kernel["hot_products"]
    ]
    return Range(max(shares), median(shares), min(shares))


_SPMV = Range(0.63, 0.40, 0.21)
_ISSUE = "arithmetic: instructions of the compiled kernel, no published figure for GCN"
_W9100 = "memory: clSPARSE on a FirePro W9100, SpMV at 21, 40 (median) and 63 % of bandwidth"
_STREAM = "memory: FluidX3D on RX 580 and RX 590 (57 and 75 %), 40 % stated"
EFFICIENCY: Mapping[str, Efficiency] = {
    **{
        layout: Efficiency(_SPMV, issued(f"spmm_{layout}"), f"{_W9100}; {_ISSUE}")
        for layout in ("csr", "csc", "sell", "bitmask", "nm")
    },
    "block": Efficiency(Range(0.75, 0.57, 0.40), issued("spmm_block"), f"{_STREAM}; {_ISSUE}"),
    "gemm_f32": Efficiency(
        Range(0.86, 0.66, 0.40),
        Range(0.65, 0.54, 0.12),
        "clpeak and FluidX3D (memory); llama.cpp on an RX 470, an RX 590 under Clover (arithmetic)",
    ),
    "gemm_i8": Efficiency(
        Range(0.64, 0.44, 0.28), Range(0.64, 0.54, 0.20), "llama.cpp Q8_0 on RX 570 and RX 470"
    ),
    "gemm_i4": Efficiency(
        Range(0.61, 0.35, 0.28), Range(0.65, 0.36, 0.20), "llama.cpp Q4_0 on RX 470, 570 and 580"
    ),
}


def seconds(kind: str, moved: float, flops: float, crossing: float) -> Range:
    """Modelled time of one call [s].

    Args:
        kind: key of EFFICIENCY.
        moved: compulsory bytes of the call on the device.
        flops: of the call.
        crossing: bytes of x and y, over the link.
    """
    factor = EFFICIENCY[kind]
    ends = zip(factor.memory, factor.alu, CLOCK, LAUNCH, LINK, strict=True)
    return Range(
        *(
            launch
            + crossing / link
            + max(moved / (BANDWIDTH * memory), flops / (2 * LANES * clock * alu))
            for memory, alu, clock, launch, link in ends
        )
    )
