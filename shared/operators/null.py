"""The backend that computes nothing: zeros of the right types, at the cost of a call alone."""

from collections.abc import Mapping

import numpy as np

from shared.operators import dims, validate
from shared.operators.reference import HostTensors
from shared.operators.spec import Attributes, OperatorSpec, Types
from shared.tensors import layouts
from shared.tensors.layouts import Tensor, TensorType


class NullBackend(HostTensors):
    """Checks every call like a real backend. What remains of a time with it is overhead."""

    name = "null"

    def supports(self, spec: OperatorSpec, inputs: Types) -> bool:
        """Always; `run` says what does not fit."""
        return True

    def run(
        self, spec: OperatorSpec, inputs: Mapping[str, Tensor], attributes: Attributes
    ) -> dict[str, Tensor]:
        """Zeros of the types that the operator would return.

        Raises:
            ValueError: the call does not fit its spec; see `validate.call`.
        """
        types = {name: tensor.type for name, tensor in inputs.items()}
        filled = validate.call(spec, types, attributes)
        return {name: _zeros(kind) for name, kind in spec.infer(types, filled).items()}


def _zeros(kind: TensorType) -> Tensor:
    return layouts.dense(np.zeros(dims.sizes(kind), dtype=kind.dtype.numpy), kind.dtype)
