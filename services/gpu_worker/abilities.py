"""What a device can be asked for, told without touching it."""

from dataclasses import dataclass

from shared.operators import validate
from shared.operators.spec import OperatorSpec, Types
from shared.tensors.dtypes import Dtype


@dataclass(frozen=True, slots=True)
class Abilities:
    """The operators that have a launcher, and whether the device counts with 64-bit floats."""

    operators: frozenset[str]
    doubles: bool

    def supports(self, spec: OperatorSpec, inputs: Types) -> bool:
        """Whether the operator has a launcher, the inputs fit its ports, and the device counts
        with their element types."""
        if spec.name not in self.operators:
            return False
        if not self.doubles and any(kind.dtype is Dtype.F64 for kind in inputs.values()):
            return False
        try:
            validate.ports(spec, inputs)
        except ValueError:
            return False
        return True
