"""What a class of workers can do: six figures, each with its spread and where it came from."""

from dataclasses import dataclass
from enum import StrEnum

CPU_CLASS = "cpu"


class Source(StrEnum):
    """Where a number came from; a guess never passes for a measurement."""

    MEASURED = "measured"  # this very call was timed on this class
    MODELLED = "modelled"  # traced steps on the measured profile of the device
    PRIOR = "prior"  # computed for a device that nobody has measured, or steps nobody has traced


@dataclass(frozen=True, slots=True)
class Figure:
    """One property of a device: its typical value and the range it was seen in."""

    typical: float
    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse figures that a division or an interval could not use.

        Raises:
            ValueError: a value is not positive, or typical lies outside low..high.
        """
        if not 0.0 < self.low <= self.typical <= self.high:
            raise ValueError(f"need 0 < {self.low} <= {self.typical} <= {self.high}")


@dataclass(frozen=True, slots=True)
class DeviceFigures:
    """The device of one class, as the cost model sees it."""

    device: str
    source: Source
    copy_bandwidth: Figure  # [byte/s], read plus write
    gemm_rate: Figure  # [flop/s], dense products
    spmm_rate: Figure  # [flop/s], on stored non-zeros
    launch: Figure  # [s], one empty step
    upload_bandwidth: Figure  # [byte/s]
    download_bandwidth: Figure  # [byte/s]


def prior(worker_class: str) -> DeviceFigures:
    """Stated figures for a class without a profile: they rank and bound, they do not predict.

    An RX 580 is taken at 40 to 90 % of its data sheet (256 GB/s, 6.17 TFLOP/s) with PCIe 3.0;
    everything else, PoCL included, as one ordinary CPU core pair.
    """
    if worker_class == "gpu-gfx803":
        return _RX580
    return _CPU if worker_class == CPU_CLASS else _POCL


_RX580 = DeviceFigures(
    device="stated: RX 580 data sheet",
    source=Source.PRIOR,
    copy_bandwidth=Figure(180e9, 100e9, 230e9),
    gemm_rate=Figure(3.0e12, 1.2e12, 5.0e12),
    spmm_rate=Figure(30e9, 8e9, 50e9),
    launch=Figure(20e-6, 8e-6, 60e-6),
    upload_bandwidth=Figure(6e9, 2e9, 11e9),
    download_bandwidth=Figure(6e9, 1e9, 11e9),
)
_CPU = DeviceFigures(
    device="stated: two CPU cores",
    source=Source.PRIOR,
    copy_bandwidth=Figure(12e9, 5e9, 30e9),
    gemm_rate=Figure(60e9, 20e9, 200e9),
    spmm_rate=Figure(1.5e9, 0.5e9, 4e9),
    launch=Figure(15e-6, 5e-6, 50e-6),
    upload_bandwidth=Figure(50e9, 5e9, 100e9),
    download_bandwidth=Figure(50e9, 5e9, 100e9),
)
_POCL = DeviceFigures(
    device="stated: OpenCL on two CPU cores",
    source=Source.PRIOR,
    copy_bandwidth=Figure(8e9, 3e9, 20e9),
    gemm_rate=Figure(10e9, 2e9, 40e9),
    spmm_rate=Figure(0.8e9, 0.2e9, 3e9),
    launch=Figure(100e-6, 40e-6, 400e-6),
    upload_bandwidth=Figure(5e9, 2e9, 12e9),
    download_bandwidth=Figure(5e9, 2e9, 12e9),
)
