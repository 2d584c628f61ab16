"""Tensors where the CPU backend keeps them: plain arrays, and weights ready for products."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from services.cpu_worker.integer.weight import Quantized
from services.cpu_worker.sparse.product import Product
from shared.tensors import dtypes
from shared.tensors.dtypes import F32, I8, I32, Array
from shared.tensors.layouts import Layout, Tensor, TensorType

Arrays = dict[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """A dense tensor, in whatever memory order the last product left it."""

    type: TensorType
    array: Array
    whole: dict[int, Any] = field(default_factory=dict)  # as whole numbers, by binary places


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A tensor of another layout, and what products use in its place."""

    tensor: Tensor
    type: TensorType
    weight: Product | Quantized | None  # None where there is no product
    whole: dict[int, Any] = field(default_factory=dict)  # as `Plain.whole`


Held = Plain | Packed


def plain(array: Array) -> Plain:
    """A dense result."""
    return Plain(TensorType(Layout.DENSE, dtypes.of(array), array.shape), array)


def packed(held: Held) -> Packed:
    """A port whose layout is not dense."""
    assert isinstance(held, Packed)  # the port's layout
    return held


def array(held: Held) -> F32:
    """A dense float32 port."""
    assert isinstance(held, Plain)  # the port's layout
    found: npt.NDArray[np.float32] = held.array.view(np.float32)
    return found


def octets(held: Held) -> I8:
    """A dense port of signed bytes."""
    assert isinstance(held, Plain)  # the port's layout
    found: I8 = held.array.view(np.int8)
    return found


def integers(held: Held) -> I32:
    """A dense port of int32."""
    assert isinstance(held, Plain)  # the port's layout
    found: I32 = held.array.view(np.int32)
    return found
