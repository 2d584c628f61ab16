"""One operator call as a launcher sees it: inputs, complete attributes, what it makes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyopencl as cl

from services.gpu_worker.device import Device
from services.gpu_worker.programs import Programs
from services.gpu_worker.residency import Residency
from services.gpu_worker.resident import DeviceTensor
from services.gpu_worker.tuning import Tuning
from shared.operators import attributes
from shared.operators.spec import Attributes
from shared.tensors.layouts import TensorType


@dataclass(frozen=True, slots=True, eq=False)
class Gpu:
    """Everything that a launcher may use."""

    device: Device
    programs: Programs
    residency: Residency
    tuning: Tuning


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A call in the making. The backend frees `outputs` if it fails and `scratch` in any case."""

    gpu: Gpu
    inputs: Mapping[str, DeviceTensor]
    attributes: Attributes
    types: Mapping[str, TensorType]  # of the outputs
    outputs: dict[str, DeviceTensor] = field(default_factory=dict)
    scratch: list[DeviceTensor] = field(default_factory=list)

    def buffer(self, port: str, part: str = "values") -> cl.Buffer | None:
        """The buffer of an input's part; None when an optional input is not given."""
        return self.inputs[port].buffer(part) if port in self.inputs else None

    def output(self, port: str, part: str = "values") -> cl.Buffer:
        """Allocate an output and return its buffer; raises like `Memory.allocate`."""
        self.outputs[port] = self.gpu.residency.empty(self.types[port])
        return self.outputs[port].buffer(part)

    def temporary(self, kind: TensorType) -> cl.Buffer:
        """Memory for this call alone; in an in-order queue it may be reused right after."""
        self.scratch.append(self.gpu.residency.empty(kind))
        return self.scratch[-1].buffer()

    def number(self, attribute: str) -> float:
        """An attribute that is a number."""
        return attributes.number(self.attributes, attribute)

    def whole(self, attribute: str) -> int:
        """An attribute that is a whole number."""
        return attributes.whole(self.attributes, attribute)

    def integers(self, attribute: str) -> tuple[int, ...]:
        """An attribute of some whole numbers."""
        return attributes.sizes(self.attributes, attribute)

    @property
    def relu(self) -> int:
        """1 when the fused activation is relu, else 0, as the kernels take it."""
        return int(self.attributes["activation"] == "relu")
