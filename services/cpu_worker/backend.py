"""The CPU backend: BLAS, compiled kernels or scipy where they are faster, else the reference.

A dense activation may lie in memory column by column: a product is taken as ``weight @ x.T``, its
transposed result is already what the next product wants, and only a download restores row order.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from services.cpu_worker import (
    dense_products,
    held,
    integer_products,
    sparse_products,
)
from services.cpu_worker.engine import SCIPY, Engine
from services.cpu_worker.held import Held, Packed, Plain
from services.cpu_worker.spiking import layers as spiking_layers
from services.cpu_worker.spiking import steps as spiking_steps
from shared.operators import validate
from shared.operators.spec import Attributes, Link, OperatorSpec, Prepared, Types
from shared.tensors import layouts
from shared.tensors.dtypes import Array
from shared.tensors.layouts import Layout, Tensor

Made = Mapping[str, Array | Tensor]
_FAST: dict[str, Callable[[Mapping[str, Held], Attributes], Made]] = {
    "gemm_f32": dense_products.gemm_f32,
    **sparse_products.OPERATORS,
    "lif_step": spiking_steps.lif_step,
    "stdp_update": spiking_steps.stdp_update,
}


class CpuBackend:
    """Runs every operator of the catalogue in host memory, on the calling thread."""

    name = "cpu"
    thread_bound = False  # any thread may call it, one at a time

    def __init__(self, engine: Engine = SCIPY) -> None:
        self._passed = validate.Passed()
        self._engine = engine

    def supports(self, spec: OperatorSpec, inputs: Types) -> bool:
        """Always: what has no fast path here has its reference."""
        return True

    def upload(self, tensor: Tensor) -> Held:
        """Keep a tensor; a weight in a packed layout is prepared for products once, here."""
        if tensor.layout is Layout.DENSE:
            return Plain(tensor.type, tensor.values)
        return Packed(tensor, tensor.type, self._engine.prepare(tensor))

    def download(self, resident: Held) -> Tensor:
        """The tensor in row order; a view when it already is."""
        if isinstance(resident, Packed):
            return resident.tensor
        return layouts.dense(resident.array, resident.type.dtype)

    def release(self, resident: Held) -> None:
        """Nothing to do: memory goes with the last reference."""

    def run(
        self, spec: OperatorSpec, inputs: Mapping[str, Held], attributes: Attributes
    ) -> dict[str, Held]:
        """Run one operator call; NaN and infinities are results here, not warnings.

        The call is checked even though numpy would refuse most misfits: it would spread a bias of
        one element over all outputs.

        Raises:
            ValueError: the call does not fit its spec; see `validate.call`.
        """
        types = {port: resident.type for port, resident in inputs.items()}
        return self._compute(spec, self._passed.call(spec, types, attributes), inputs)

    def prepare(self, spec: OperatorSpec, types: Types, attributes: Attributes) -> Prepared:
        """See `spec.Preparing`: the check is done here, once."""
        filled = validate.call(spec, types, attributes)
        return partial(self._compute, spec, filled)

    def chain(self, links: tuple[Link, ...]) -> Prepared | None:
        """See `spec.Chaining`: layers of neurons, where kernels are compiled."""
        if not self._engine.compiled:
            return None
        from services.cpu_worker.spiking import chain  # late: numba may be absent

        return chain.prepared(self._engine, links)

    def _compute(
        self, spec: OperatorSpec, filled: Attributes, inputs: Mapping[str, Held]
    ) -> dict[str, Held]:
        with np.errstate(all="ignore"):
            if (fast := self._fast(spec.name)) is not None:
                made = fast(inputs, filled)
                return {port: self._held(array) for port, array in made.items()}
            tensors = {port: self.download(resident) for port, resident in inputs.items()}
            outputs = spec.reference(tensors, filled)
            return {port: self.upload(tensor) for port, tensor in outputs.items()}

    def _held(self, made: Array | Tensor) -> Held:
        return self.upload(made) if isinstance(made, Tensor) else held.plain(made)

    def _fast(self, operator: str) -> Callable[[Mapping[str, Held], Attributes], Made] | None:
        if operator == "sddmm_csr" and self._engine.compiled:
            return partial(sparse_products.sddmm, self._engine)
        if operator in spiking_layers.OPERATORS and self._engine.compiled:
            return partial(spiking_layers.OPERATORS[operator], self._engine)
        if (product := integer_products.OPERATORS.get(operator)) is not None:
            return partial(product, self._engine)
        return _FAST.get(operator)

    def synchronize(self) -> None:
        """Nothing to wait for: `run` returns when the work is done."""
