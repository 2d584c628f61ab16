"""The backend that computes nothing: zeros of the right types, at the cost of a call alone."""

from collections.abc import Mapping

import numpy as np

from shared.operators import dims, validate
from shared.operators.reference import HostTensors
from shared.operators.spec import Attributes, OperatorSpec, Types
from shared.tensors import layouts
from shared.tensors.layouts import Layout, Tensor, TensorType
from shared.tensors.packing import WORD_BITS


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
    shape = dims.sizes(kind)
    if kind.layout is Layout.SPIKE_BITS:
        words = np.zeros((*shape[:-1], -(-shape[-1] // WORD_BITS)), np.uint32)
        return Tensor(kind.layout, kind.dtype, shape, {"words": words})
    return layouts.dense(np.zeros(shape, dtype=kind.dtype.numpy), kind.dtype)
