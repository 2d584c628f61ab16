"""What may be set by the environment (`ELLESMERE_*`) for this service."""

from pydantic import Field

from services.gpu_worker.limits import Limits
from shared.chassis.settings import DeviceSettings


class GpuSettings(DeviceSettings):
    """A worker on an OpenCL device."""

    device_failures: int = Field(default=3, ge=1)  # in a row: the worker is then unready
    crosscheck_every: int = Field(default=256, ge=1)  # runs of which one is checked by the CPU
    device_memory: int = Field(default=Limits().memory_bytes, ge=2**20)  # [bytes] all buffers

    @property
    def limits(self) -> Limits:
        """A real card's limits, with the memory that was set."""
        return Limits(memory_bytes=self.device_memory)
