"""Launches of neurons and synapses, one time step per call."""

from services.gpu_worker.launch.call import Call


def lif_step(call: Call) -> None:
    """Four neurons per work-item."""
    count = call.inputs["v"].size
    attributes = ("decay", "gain", "v_rest", "v_threshold", "v_reset")
    call.gpu.programs.kernel("lif_step", call.gpu.tuning.items).launch(
        -(-count // 4),
        count,
        *map(call.number, attributes),
        call.buffer("v"),
        call.buffer("current"),
        call.output("v_next"),
        call.output("spikes"),
    )


def stdp_update(call: Call) -> None:
    """A row of work-items per postsynaptic neuron; one row and one item even without synapses,
    since they advance the traces."""
    post, pre = call.inputs["weight"].shape
    aligned = int(pre % 4 == 0)
    attributes = ("a_plus", "a_minus", "decay_pre", "decay_post", "w_min", "w_max")
    inputs = ("weight", "pre_spikes", "post_spikes", "pre_trace", "post_trace")
    outputs = ("weight_next", "pre_trace_next", "post_trace_next")
    call.gpu.programs.kernel("stdp_update", call.gpu.tuning.items | {"ALIGNED": aligned}).launch(
        max(pre // 4 if aligned else pre, 1),
        *(post, pre),
        *map(call.number, attributes),
        *map(call.buffer, inputs),
        *map(call.output, outputs),
        rows=max(post, 1),
    )
