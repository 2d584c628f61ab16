"""How long work takes on a device: a roofline per step, plus launches and transfers.

    t = steps * launch + upload / up + download / down + sum(max(bytes / bandwidth, flops / rate))

Source: Williams et al. 2009 (roofline); `bytes` is compulsory traffic, so the result bounds from
below what a kernel reaches and is corrected by what was measured (see calibrate).
"""

from dataclasses import dataclass

from shared.operators.spec import Cost
from shared.placement.hardware import DeviceFigures


@dataclass(frozen=True, slots=True)
class StepWork:
    """One step: its compulsory work, and whether its rate is that of sparse products."""

    cost: Cost
    sparse: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """Everything one call does. Transfers are the bytes that cross to the device and back."""

    steps: tuple[StepWork, ...]
    upload: float = 0.0  # [bytes]
    download: float = 0.0  # [bytes]
    repeat: int = 1  # how often the steps run; tensors cross once


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected time of a call [s] and the range that the spread of the figures allows."""

    typical: float
    low: float
    high: float


def estimate(work: Work, figures: DeviceFigures) -> Estimate:
    """Time of `work` on a device, with its interval."""
    low = high = 0.0
    for step in work.steps:
        rate = figures.spmm_rate if step.sparse else figures.gemm_rate
        bandwidth, launch = figures.copy_bandwidth, figures.launch
        flops, moved = step.cost.flops, step.cost.bytes
        low += launch.low + max(moved / bandwidth.high, flops / rate.high)
        high += launch.high + max(moved / bandwidth.low, flops / rate.low)
    up, down = figures.upload_bandwidth, figures.download_bandwidth
    return Estimate(
        typical=typical(work, figures),
        low=low * work.repeat + work.upload / up.high + work.download / down.high,
        high=high * work.repeat + work.upload / up.low + work.download / down.low,
    )


def typical(work: Work, figures: DeviceFigures) -> float:
    """The typical time of `estimate` alone [s]: all that a placement needs."""
    bandwidth, launch = figures.copy_bandwidth.typical, figures.launch.typical
    dense, sparse = figures.gemm_rate.typical, figures.spmm_rate.typical
    total = 0.0
    for step in work.steps:
        flops = step.cost.flops / (sparse if step.sparse else dense)
        total += launch + max(step.cost.bytes / bandwidth, flops)
    up, down = figures.upload_bandwidth.typical, figures.download_bandwidth.typical
    return total * work.repeat + work.upload / up + work.download / down


def seconds_per_row(one: Estimate, many: Estimate, rows: int) -> float:
    """Slope of a call's time over its batch [s/row], from its time at 1 and at `rows` rows.

    Raises:
        ValueError: `rows` is not above 1.
    """
    if rows <= 1:
        raise ValueError(f"a slope needs more than one row, got {rows}")
    return max(0.0, (many.typical - one.typical) / (rows - 1))
