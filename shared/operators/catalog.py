"""Everything that can be computed, in one list. To add an operator, write its spec and name it."""

from shared.operators import validate
from shared.operators.dense import GEMM_F32
from shared.operators.elementwise import (
    ADD,
    CAST,
    CLIP,
    COPY,
    MUL,
    RELU,
    SIGMOID,
    SOFTMAX,
    TANH,
)
from shared.operators.int4 import GEMM_I4
from shared.operators.int_group import GEMM_INT
from shared.operators.plastic import PLASTIC_LAYER
from shared.operators.quantized import GEMM_I8
from shared.operators.recurrent import RECURRENT_LAYER
from shared.operators.reductions import REDUCE_MAX, REDUCE_MEAN, REDUCE_SUM
from shared.operators.shape import RESHAPE, TRANSPOSE
from shared.operators.sparse import (
    SDDMM_CSR,
    SPMM_BITMASK,
    SPMM_BLOCK,
    SPMM_CSC,
    SPMM_CSR,
    SPMM_NM,
    SPMM_SELL,
)
from shared.operators.spec import OperatorSpec
from shared.operators.spike_join import SPIKE_JOIN
from shared.operators.spike_trains import RATE_ENCODE, SPIKE_PACK, SPIKE_RATE, SPIKE_UNPACK
from shared.operators.spiking import LIF_STEP, STDP_UPDATE
from shared.operators.spiking_layers import CUBA_LAYER, LIF_LAYER
from shared.operators.static import DEQUANTIZE_I8, GEMM_Q8, QUANTIZE_I8

CATALOG: tuple[OperatorSpec, ...] = (
    GEMM_F32,
    GEMM_I8,
    GEMM_I4,
    GEMM_INT,
    GEMM_Q8,
    QUANTIZE_I8,
    DEQUANTIZE_I8,
    SPMM_CSR,
    SPMM_CSC,
    SPMM_BLOCK,
    SPMM_SELL,
    SPMM_NM,
    SPMM_BITMASK,
    SDDMM_CSR,
    LIF_STEP,
    STDP_UPDATE,
    LIF_LAYER,
    CUBA_LAYER,
    RECURRENT_LAYER,
    RATE_ENCODE,
    SPIKE_RATE,
    SPIKE_JOIN,
    SPIKE_PACK,
    SPIKE_UNPACK,
    PLASTIC_LAYER,
    RELU,
    SIGMOID,
    TANH,
    COPY,
    CLIP,
    SOFTMAX,
    ADD,
    MUL,
    CAST,
    REDUCE_SUM,
    REDUCE_MEAN,
    REDUCE_MAX,
    RESHAPE,
    TRANSPOSE,
)
_BY_NAME = {entry.name: entry for entry in CATALOG}


def spec(name: str) -> OperatorSpec:
    """The contract of an operator.

    Raises:
        ValueError: no operator has this name; the nearest names are given.
    """
    if name not in _BY_NAME:
        raise ValueError(f"no operator {name!r:.80}; {validate.nearest(name, _BY_NAME)}")
    return _BY_NAME[name]
