"""Launches of layers of neurons over all steps, and of what turns numbers to spikes and back."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pyopencl as cl

from services.gpu_worker.launch.call import Call
from shared.operators import plastic, spiking_layers
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, TensorType

WORDS = "words"


def lif_layer(call: Call) -> None:
    """A neuron per work-item, all steps in one launch; weights become codes just before."""
    sizes, neuron, arriving = _layer(call)
    made = (call.output("spikes", WORDS), call.output("v_next"))
    _kernel(call, "lif_layer")(*sizes, *neuron, *arriving, call.buffer("v"), *made)


def cuba_layer(call: Call) -> None:
    """As lif_layer, with currents beside potentials."""
    sizes, neuron, arriving = _layer(call)
    filters = map(call.number, spiking_layers.FILTERS)
    carried = (call.buffer("v"), call.buffer("i"))
    made = (call.output("spikes", WORDS), call.output("v_next"), call.output("i_next"))
    _kernel(call, "cuba_layer")(*sizes, *neuron, *filters, *arriving, *carried, *made)


def plastic_layer(call: Call) -> None:
    """One group does all steps, since each follows from the last."""
    layer, rule, rivals = plastic.parts_of(call.attributes)
    (_, steps, k), (m, _) = call.inputs["spikes"].shape, call.inputs["weight"].shape
    scale = 2.0**layer.fraction
    bias = codes(call, call.buffer("bias"), (m, 1), scale) if "bias" in call.inputs else None
    choices = {"ALONE": int(rivals.alone), "NEAREST": int(rule.nearest)}
    kernel = call.gpu.programs.kernel("plastic_layer", choices)
    kernel.launch(
        kernel.group,
        *(steps, k, m),
        *(layer.decay, layer.leak, layer.threshold, layer.reset, 1.0 / scale, scale),
        *(rivals.theta_plus, rivals.theta_decay, rivals.inhibition),
        *(rule.a_plus, rule.a_minus, rule.offset, rule.w_min, rule.w_max),
        *(rule.decay_pre, rule.decay_post),
        *(call.buffer("spikes", WORDS), call.buffer("weight"), bias),
        *(call.buffer(port) for port in plastic.KEPT),
        call.output("spikes", WORDS),
        *(call.output(f"{port}_next") for port in ("weight", *plastic.KEPT)),
    )


def _kernel(call: Call, name: str) -> Callable[..., None]:
    """Launches a layer's kernel with whatever it takes."""
    n, m = call.inputs["spikes"].shape[0], call.inputs["weight"].shape[0]
    subtract = int(call.attributes["subtract"] is True)
    kernel = call.gpu.programs.kernel(name, {"SUBTRACT": subtract})
    return partial(kernel.launch, -(-m // kernel.group) * kernel.group, rows=n)


def _layer(
    call: Call,
) -> tuple[tuple[int, int, int], tuple[float, ...], tuple[cl.Buffer | None, ...]]:
    """Sizes, the numbers of a neuron, and what arrives: spikes, codes and bias."""
    (_, steps, k), (m, _) = call.inputs["spikes"].shape, call.inputs["weight"].shape
    layer = spiking_layers.layer_of(call.attributes)
    scale = 2.0**layer.fraction
    neuron = (layer.decay, layer.leak, layer.threshold, layer.reset, 1.0 / scale)
    bias = codes(call, call.buffer("bias"), (m, 1), scale) if "bias" in call.inputs else None
    synapses = codes(call, call.buffer("weight"), (m, k), scale)
    return (steps, k, m), neuron, (call.buffer("spikes", WORDS), synapses, bias)


def rate_encode(call: Call) -> None:
    """A word of 32 neurons per work-item."""
    (n, k), steps = call.inputs["x"].shape, call.types["spikes"].shape[1] or 0
    random = {"RANDOM": int(call.attributes["mode"] == "randomly")}
    kernel = call.gpu.programs.kernel("rate_encode", call.gpu.tuning.items | random)
    words = n * steps * -(-k // 32)
    kernel.launch(
        words, n, steps, k, call.whole("seed"), call.buffer("x"), call.output("spikes", WORDS)
    )


def spike_rate(call: Call) -> None:
    """A neuron per work-item."""
    n, steps, k = call.inputs["spikes"].shape
    share = float(np.float32(1.0) / np.float32(steps))
    kernel = call.gpu.programs.kernel("spike_rate", call.gpu.tuning.items)
    kernel.launch(n * k, n, steps, k, share, call.buffer("spikes", WORDS), call.output("y"))


def spike_join(call: Call) -> None:
    """A word of 32 neurons per work-item."""
    (n, steps, k), m = call.inputs["a"].shape, call.inputs["b"].shape[2]
    kernel = call.gpu.programs.kernel("spike_join", call.gpu.tuning.items)
    count, inputs = n * steps, (call.buffer(port, WORDS) for port in ("a", "b"))
    words = count * -(-(k + m) // 32)
    kernel.launch(words, count, k, m, *inputs, call.output("spikes", WORDS))


def spike_pack(call: Call) -> None:
    """A word of 32 numbers per work-item."""
    n, steps, k = call.inputs["x"].shape
    kernel = call.gpu.programs.kernel("spike_pack", call.gpu.tuning.items)
    made = call.output("spikes", WORDS)
    kernel.launch(n * steps * -(-k // 32), n * steps, k, call.buffer("x"), made)


def spike_unpack(call: Call) -> None:
    """A neuron per work-item."""
    n, steps, k = call.inputs["spikes"].shape
    kernel = call.gpu.programs.kernel("spike_unpack", call.gpu.tuning.items)
    spikes = call.buffer("spikes", WORDS)
    kernel.launch(n * steps * k, n * steps, k, spikes, call.output("y"))


def codes(call: Call, weight: cl.Buffer | None, shape: tuple[int, int], scale: float) -> cl.Buffer:
    """Weights (m, k) as whole numbers (k, m)."""
    m, k = shape
    made = call.temporary(TensorType(Layout.DENSE, Dtype.I32, (k, m)))
    kernel = call.gpu.programs.kernel("lif_layer", {"CODES": 1}, "lif_layer_codes")
    kernel.launch(m * k, m, k, scale, weight, made)
    return made
