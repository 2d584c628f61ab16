"""The OpenCL backend: runs every operator of the launcher table on the process's device."""

from collections.abc import Mapping
from pathlib import Path

from services.gpu_worker import device as devices
from services.gpu_worker import tuning
from services.gpu_worker.abilities import Abilities
from services.gpu_worker.binaries import BinaryCache
from services.gpu_worker.device import Device
from services.gpu_worker.launch import split
from services.gpu_worker.launch.call import Call, Gpu
from services.gpu_worker.launch.table import LAUNCHERS
from services.gpu_worker.limits import Limits
from services.gpu_worker.programs import Programs
from services.gpu_worker.residency import Residency
from services.gpu_worker.resident import DeviceTensor
from services.gpu_worker.shelf import Traffic
from services.gpu_worker.tuned.choices import Choices
from services.gpu_worker.tuning import Tuning
from shared.operators import validate
from shared.operators.spec import Attributes, OperatorSpec, Types
from shared.tensors.layouts import Tensor


def open_backend(
    platform: str | None = None, cache: Path | None = None, limits: Limits | None = None
) -> "OpenCLBackend":
    """Open a device and the backend on it.

    Args:
        platform: part of a platform's name; None: the first graphics card, else PoCL.
        cache: folder for compiled programs; None keeps none between processes.
        limits: bounds to enforce besides the device's own.

    Raises:
        NoDevice, LinkerMissing, DeviceFailed: see `device.open_device`.
    """
    return OpenCLBackend(devices.open_device(platform, cache, limits), cache)


class OpenCLBackend:
    """Operators on one OpenCL device; tensors stay there until they are downloaded or released."""

    thread_bound = True  # waits for the device must not block anybody else's thread

    def __init__(
        self, device: Device, cache: Path | None = None, tuned: Tuning | None = None
    ) -> None:
        """`tuned` replaces the start values of the device's class."""
        self.device = device
        self.name = device.worker_class
        self.residency = Residency(device)
        self.programs = Programs(device, BinaryCache(cache / "programs" if cache else None))
        self._passed = validate.Passed()
        start = tuned or tuning.of_class(self.name)
        self.choices = Choices(Gpu(device, self.programs, self.residency, start))

    @property
    def operators(self) -> tuple[str, ...]:
        """What runs here: the launcher table, nothing else."""
        return tuple(LAUNCHERS)

    @property
    def batches(self) -> tuple[int, ...]:
        """Rows of x that between them need every variant of the products' kernels."""
        return self.choices.start.tuning.batches

    @property
    def upload_seconds(self) -> float:
        """How long the last upload took [s], by the device's clock; waits for its end."""
        return self.residency.transfers.upload_seconds

    @property
    def download_seconds(self) -> float:
        """How long the last download took [s], by the device's clock."""
        return self.residency.transfers.download_seconds

    @property
    def traffic(self) -> Traffic:
        """Transfers and evictions since the backend was opened."""
        return self.residency.traffic

    def supports(self, spec: OperatorSpec, inputs: Types) -> bool:
        """Whether the operator has a launcher, the inputs fit its ports, and the device counts
        with their element types."""
        return Abilities(frozenset(LAUNCHERS), self.device.doubles).supports(spec, inputs)

    def upload(self, tensor: Tensor) -> DeviceTensor:
        """Copy a tensor to the device; its arrays may be reused at once.

        It may leave the device while no call reads it, and comes back when one does. Arrays that
        nobody can write to are kept for that; others are read back before they leave.

        Raises:
            LimitExceeded: a part is larger than one buffer may be, and cannot be cut by rows.
            OutOfDeviceMemory: there is no room beside what cannot leave.
        """
        return self.residency.upload(tensor)

    def download(self, resident: DeviceTensor) -> Tensor:
        """Wait for the work that makes a tensor and copy it to host memory."""
        return self.residency.download(resident)

    def release(self, resident: DeviceTensor) -> None:
        """Give the memory back; work already enqueued still finishes."""
        self.residency.release(resident)

    def run(
        self, spec: OperatorSpec, inputs: Mapping[str, DeviceTensor], attributes: Attributes
    ) -> dict[str, DeviceTensor]:
        """Enqueue one operator call; the outputs may be used at once.

        Raises:
            ValueError: the call does not fit its spec, or an input was released.
            OutOfDeviceMemory: its inputs and outputs do not fit beside what cannot leave.
            LimitExceeded: a tensor is larger than one buffer, and the operator takes no pieces.
            DeviceFailed: the device refuses it; nothing stays allocated.
        """
        types = {port: tensor.type for port, tensor in inputs.items()}
        filled = self._passed.call(spec, types, attributes)
        gpu = self.choices.of(spec.name, types, filled)
        call = Call(gpu, inputs, filled, spec.infer(types, filled))
        try:
            self._launch(spec, call)
        except BaseException:
            for output in call.outputs.values():
                self.residency.release(output)
            raise
        finally:
            for scratch in call.scratch:
                self.residency.release(scratch)
        return call.outputs

    def _launch(self, spec: OperatorSpec, call: Call) -> None:
        residency, launcher = self.residency, LAUNCHERS[spec.name]
        try:
            residency.begin(call.inputs.values())
            if split.needed(call):
                split.launch(spec, call, launcher)
            else:
                launcher(call)
        finally:
            residency.end((*call.inputs.values(), *call.outputs.values(), *call.scratch))

    def synchronize(self) -> None:
        """Wait until everything enqueued has finished; raises DeviceFailed if some of it broke."""
        self.device.finish()
