"""A network: operator calls in order, the weights they read, and what goes in and comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.operators.spec import Attributes
from shared.tensors.layouts import Tensor, TensorType


@dataclass(frozen=True, slots=True)
class Step:
    """One operator call. `inputs` and `outputs` map port names to value names."""

    name: str
    operator: str  # a name of the catalogue
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Steps in an order in which every value is made before it is read.

    `inputs` holds the type of each input, `None` for its batch dimension (always the first).
    A value name is an input, a weight, or the output of exactly one step.
    """

    inputs: Mapping[str, TensorType]
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]
    weights: Mapping[str, Tensor]

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights in their layouts."""
        return sum(weight.nbytes for weight in self.weights.values())
