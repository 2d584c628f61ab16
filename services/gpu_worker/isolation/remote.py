"""A tensor of the child as the parent knows it."""

from dataclasses import dataclass

from shared.tensors.layouts import Tensor, TensorType

NOWHERE = 0


@dataclass(slots=True, eq=False)
class Remote:
    """A tensor in the child's device memory.

    One that came from here keeps its source, so that another child can be given it again; one that
    was computed there is lost with its child.
    """

    id: int
    type: TensorType
    source: Tensor | None = None
    home: int = NOWHERE  # number of the child that has it
    released: bool = False
