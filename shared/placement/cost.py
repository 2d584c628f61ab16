"""How long work takes on a device: a roofline per step, plus launches and transfers.

    t = steps * launch + upload / up + download / down + sum(max(bytes / bandwidth, flops / rate))

Source: Williams et al. 2009 (roofline); `bytes` is compulsory traffic, so the result bounds from
below what a kernel reaches and is corrected by what was measured (see calibrate).
"""

from dataclasses import dataclass
from typing import NamedTuple

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


class _Rates(NamedTuple):
    """One value of each of `DeviceFigures`."""

    launch: float
    copy: float
    dense: float
    sparse: float
    up: float
    down: float


def estimate(work: Work, figures: DeviceFigures) -> Estimate:
    """Time of `work` on a device, with its interval: every figure at its best, at its worst."""
    best = _Rates(
        figures.launch.low,
        figures.copy_bandwidth.high,
        figures.gemm_rate.high,
        figures.spmm_rate.high,
        figures.upload_bandwidth.high,
        figures.download_bandwidth.high,
    )
    return Estimate(typical(work, figures), _seconds(work, best), highest(work, figures))


def typical(work: Work, figures: DeviceFigures) -> float:
    """The typical time of `estimate` alone [s]."""
    rates = _Rates(
        figures.launch.typical,
        figures.copy_bandwidth.typical,
        figures.gemm_rate.typical,
        figures.spmm_rate.typical,
        figures.upload_bandwidth.typical,
        figures.download_bandwidth.typical,
    )
    return _seconds(work, rates)


def highest(work: Work, figures: DeviceFigures) -> float:
    """The upper end of `estimate` alone [s]: what a placement goes by."""
    rates = _Rates(
        figures.launch.high,
        figures.copy_bandwidth.low,
        figures.gemm_rate.low,
        figures.spmm_rate.low,
        figures.upload_bandwidth.low,
        figures.download_bandwidth.low,
    )
    return _seconds(work, rates)


def seconds_per_row(one: float, many: float, rows: int) -> float:
    """Slope of a call's time over its batch [s/row], from its time [s] at 1 and at `rows` rows.

    Raises:
        ValueError: `rows` is not above 1.
    """
    if rows <= 1:
        raise ValueError(f"a slope needs more than one row, got {rows}")
    return max(0.0, (many - one) / (rows - 1))


def _seconds(work: Work, rates: _Rates) -> float:
    total = 0.0
    for step in work.steps:
        flops = step.cost.flops / (rates.sparse if step.sparse else rates.dense)
        total += rates.launch + max(step.cost.bytes / rates.copy, flops)
    return total * work.repeat + work.upload / rates.up + work.download / rates.down
