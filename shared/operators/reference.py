"""The backend that is the definition: every operator by its reference, in host memory."""

from collections.abc import Mapping

import numpy as np

from shared.operators import validate
from shared.operators.spec import Attributes, OperatorSpec, Types
from shared.tensors.layouts import Tensor


class HostTensors:
    """The half of a backend that moves tensors, where residents are the tensors themselves."""

    def upload(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def download(self, resident: Tensor) -> Tensor:
        """The tensor itself."""
        return resident

    def release(self, resident: Tensor) -> None:
        """Nothing to give back; memory goes with the last reader."""

    def synchronize(self) -> None:
        """Every call has finished when it returns."""


class ReferenceBackend(HostTensors):
    """Runs references."""

    name = "reference"

    def supports(self, spec: OperatorSpec, inputs: Types) -> bool:
        """Whether the inputs fit the ports; every operator has a reference."""
        try:
            validate.ports(spec, inputs)
        except ValueError:
            return False
        return True

    def run(
        self, spec: OperatorSpec, inputs: Mapping[str, Tensor], attributes: Attributes
    ) -> dict[str, Tensor]:
        """Run one call; NaN and infinities are results here, not warnings.

        Raises:
            ValueError: the call does not fit its spec; see `validate.call`.
        """
        types = {name: tensor.type for name, tensor in inputs.items()}
        filled = validate.call(spec, types, attributes)
        with np.errstate(all="ignore"):
            return spec.reference(inputs, filled)
