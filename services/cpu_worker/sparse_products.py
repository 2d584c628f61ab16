"""Products with sparse weights; who computes them is the engine's choice, see `engine`."""

from collections.abc import Mapping

from services.cpu_worker import held
from services.cpu_worker.engine import Engine
from services.cpu_worker.held import Arrays, Held
from services.cpu_worker.sparse.product import Product
from shared.operators.spec import Attributes
from shared.tensors.layouts import SPARSE


def spmm(inputs: Mapping[str, Held], attributes: Attributes) -> Arrays:
    """A batch that comes first is a column-major x, and leaves as a column-major y."""
    weight, x = held.packed(inputs["weight"]).weight, held.array(inputs["x"])
    assert isinstance(weight, Product)  # the port's layout
    bias = held.array(inputs["bias"]) if "bias" in inputs else None
    batch_first = attributes["batch_first"]
    y = weight.multiply(
        x.T if batch_first else x, bias=bias, relu=attributes["activation"] == "relu"
    )
    return {"y": y.T if batch_first else y}


def sddmm(engine: Engine, inputs: Mapping[str, Held], _: Attributes) -> Arrays:
    """The dot products by compiled kernels; without them the reference computes."""
    pattern = held.packed(inputs["pattern"]).tensor
    return {"values": engine.sample(pattern, held.array(inputs["a"]), held.array(inputs["b"]))}


OPERATORS = {f"spmm_{layout}": spmm for layout in SPARSE}
