"""Every operator that runs on the device, and the function that launches it."""

from collections.abc import Callable

from services.gpu_worker.launch import (
    dense,
    elementwise,
    quantized,
    reductions,
    shape,
    sparse,
    spiking,
    spiking_layers,
    static,
)
from services.gpu_worker.launch.call import Call

LAUNCHERS: dict[str, Callable[[Call], None]] = {
    "gemm_f32": dense.gemm_f32,
    "gemm_i8": quantized.gemm_i8,
    "gemm_i4": quantized.gemm_i4,
    "gemm_int": quantized.gemm_int,
    "gemm_q8": static.gemm_q8,
    "quantize_i8": static.quantize_i8,
    "dequantize_i8": static.dequantize_i8,
    "spmm_csr": sparse.spmm_csr,
    "spmm_csc": sparse.spmm_csc,
    "spmm_block": sparse.spmm_block,
    "spmm_sell": sparse.spmm_sell,
    "spmm_nm": sparse.spmm_nm,
    "spmm_bitmask": sparse.spmm_bitmask,
    "sddmm_csr": sparse.sddmm_csr,
    "lif_step": spiking.lif_step,
    "stdp_update": spiking.stdp_update,
    "lif_layer": spiking_layers.lif_layer,
    "rate_encode": spiking_layers.rate_encode,
    "spike_rate": spiking_layers.spike_rate,
    "spike_pack": spiking_layers.spike_pack,
    "spike_unpack": spiking_layers.spike_unpack,
    "relu": elementwise.relu,
    "sigmoid": elementwise.sigmoid,
    "tanh": elementwise.tanh,
    "copy": elementwise.copy,
    "clip": elementwise.clip,
    "softmax": elementwise.softmax,
    "add": elementwise.add,
    "mul": elementwise.mul,
    "cast": elementwise.cast,
    "reduce_sum": reductions.reduce_sum,
    "reduce_mean": reductions.reduce_mean,
    "reduce_max": reductions.reduce_max,
    "reshape": shape.reshape,
    "transpose": shape.transpose,
}
