"""What may be set by the environment (`ELLESMERE_*`) for this service."""

from pydantic import Field

from services.gpu_worker.limits import Limits
from shared.chassis.settings import DeviceSettings


class GpuSettings(DeviceSettings):
    """A worker on an OpenCL device."""

    device_memory: int = Field(default=Limits().memory_bytes, ge=2**20)  # [bytes] all buffers

    @property
    def limits(self) -> Limits:
        """A real card's limits, with the memory that was set."""
        return Limits(memory_bytes=self.device_memory)
