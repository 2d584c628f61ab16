"""The launch of a population that reads itself."""

import numpy as np
import pyopencl as cl

from services.gpu_worker.launch.call import Call
from services.gpu_worker.launch.spiking_layers import WORDS, codes
from shared.operators import recurrent
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, TensorType, dense


def recurrent_layer(call: Call) -> None:
    """A group per row does all steps, since each follows from the last."""
    (n, steps, k), (m, _) = call.inputs["spikes"].shape, call.inputs["weight"].shape
    synapses = call.inputs["recurrent"]
    lags, fraction = synapses.shape[0] // m, call.attributes["fraction"]
    assert isinstance(fraction, int)  # the attribute's kind
    ends = recurrent.stages_of(call.attributes, m)
    choices = {
        "SUBTRACT": int(call.attributes["subtract"] is True),
        "INDEX": synapses.parts["indices"].dtype.itemsize * 8,
    }
    kernel = call.gpu.programs.kernel("recurrent_layer", choices)
    kernel.launch(
        kernel.group,
        *(steps, k, m, lags, len(ends), 2.0**-fraction),
        *_arriving(call, fraction),
        _uploaded(call, ends),
        *(call.buffer("v"), call.buffer("i"), call.buffer("past", WORDS)),
        call.temporary(TensorType(Layout.DENSE, Dtype.I32, (n, lags, m))),
        *(call.output("spikes", WORDS), call.output("v_next"), call.output("i_next")),
        call.output("past_next", WORDS),
        rows=n,
    )


def _arriving(call: Call, fraction: int) -> tuple[cl.Buffer | None, ...]:
    """Spikes, codes, bias, constants of the neurons, and synapses between them."""
    (_, _, k), (m, _) = call.inputs["spikes"].shape, call.inputs["weight"].shape
    scale, synapses = 2.0**fraction, call.inputs["recurrent"]
    bias = codes(call, call.buffer("bias"), (m, 1), scale) if "bias" in call.inputs else None
    return (
        call.buffer("spikes", WORDS),
        codes(call, call.buffer("weight"), (m, k), scale),
        bias,
        call.buffer("neurons"),
        *(synapses.buffer(part) for part in ("indptr", "indices")),
        codes(call, synapses.buffer("values"), (synapses.type.nonzeros or 0, 1), scale),
    )


def _uploaded(call: Call, ends: tuple[int, ...]) -> cl.Buffer:
    call.scratch.append(call.gpu.residency.upload(dense(np.array(ends, np.int32))))
    return call.scratch[-1].buffer()
