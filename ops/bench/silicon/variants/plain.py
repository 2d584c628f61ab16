"""Kernels without weights to multiply: elementwise, reductions, shape and spiking."""

from collections.abc import Iterator

from ops.bench.silicon.configuration import TILE, Configuration
from services.gpu_worker import tuning
from services.gpu_worker.launch.elementwise import C_TYPES
from shared.tensors.dtypes import Dtype

_ONE_FORM = ("add", "clip", "copy", "lif_step", "mul", "relu", "sigmoid")
_BYTES = ("quantize_i8", "dequantize_i8")
_READ = {Dtype.I64: 0, Dtype.F32: 1, Dtype.F64: 1, Dtype.F16: 2, Dtype.BF16: 3}  # of each kind, one
REDUCTIONS = ("reduce_max", "reduce_mean", "reduce_sum")


def configurations() -> Iterator[Configuration]:
    """Every form that a card launches; casts from one type of each kind."""
    yield from (Configuration(name, name) for name in (*_ONE_FORM, *_BYTES))
    yield Configuration("tanh", "tanh_map")
    yield Configuration("softmax", "softmax", {"LANES": tuning.CARD.lanes})
    for name in REDUCTIONS:
        yield Configuration(name, name)
        yield Configuration(name, f"{name}_along", {"ALONG": 1, "LANES": tuning.CARD.lanes})
    yield Configuration("transpose", "transpose")
    yield Configuration("transpose", "transpose_matrix", {"MATRIX": 1})
    yield from _spiking()
    for dtype, read in _READ.items():
        yield Configuration("cast", "cast", {"FROM": C_TYPES[dtype], "READ": read})
    yield Configuration("cast", "cast", {"FROM": "float", "READ": 1, "DOUBLES": 0})


def _spiking() -> Iterator[Configuration]:
    """Layers of neurons, and what is around them."""
    for subtract in (0, 1):
        yield Configuration("lif_layer", "lif_layer", {"SUBTRACT": subtract})
        yield Configuration("cuba_layer", "cuba_layer", {"SUBTRACT": subtract})
    yield Configuration("lif_layer", "lif_layer_codes", {"CODES": 1})
    for alone in (0, 1):
        yield Configuration("plastic_layer", "plastic_layer", {"ALONE": alone})
    for random in (0, 1):
        yield Configuration("rate_encode", "rate_encode", {"RANDOM": random})
    for name in ("spike_rate", "spike_join", "spike_pack", "spike_unpack"):
        yield Configuration(name, name)
    for aligned in (1, 0):
        yield Configuration("stdp_update", "stdp_update", {"ALIGNED": aligned})
    yield from _recurrent()


def _recurrent() -> Iterator[Configuration]:
    """By one group, and by all of them."""
    for subtract in (0, 1):
        for index in (16, 32):
            choices = {"SUBTRACT": subtract, "INDEX": index}
            yield Configuration("recurrent_layer", "recurrent_layer", choices, TILE)
        yield Configuration("recurrent_layer", "recurrent_fire", {"SUBTRACT": subtract})
    for index in (16, 32):
        yield Configuration("recurrent_layer", "recurrent_send", {"INDEX": index})
    for entry in ("recurrent_begin", "recurrent_keep"):
        yield Configuration("recurrent_layer", entry)
