"""Results of `bench quantized` as text; `tables` makes the page of it."""

from collections.abc import Mapping

from ops.bench import comparison, figures
from ops.bench.figures import DASH, Calls

HEAD = "n, rows of x"
RIVALS = (
    "numpy/f32",
    "onnxruntime/f32",
    "torch/f32",
    "onnxruntime/MatMulInteger",
    "onnxruntime/dynamic",
    "torch/int8 dynamic",
    "onnxruntime/MatMulNBits",
    "onnxruntime/MatMulNBits x 8",
)
OURS = ("gemm_i8", "gemm_i8 x 8", "gemm_q8", "gemm_int 3 bits", "gemm_i4", "gemm_i4 x 8")
PAIRS = (  # ours, and the rival that computes the same or nearest to it
    ("gemm_i8", "numpy/f32"),
    ("gemm_i8", "onnxruntime/f32"),
    ("gemm_i8 x 8", "onnxruntime/dynamic"),
    ("gemm_i8 x 8", "torch/int8 dynamic"),
    ("gemm_q8", "onnxruntime/MatMulInteger"),
    ("gemm_int 3 bits", "numpy/f32"),
    ("gemm_i4", "numpy/f32"),
    ("gemm_i4", "onnxruntime/MatMulNBits"),
    ("gemm_i4 x 8", "onnxruntime/MatMulNBits x 8"),
)


def whole(found: Mapping[str, object]) -> str:
    """Times of everybody, how many times as fast as a rival ours are, and the limit of each."""
    cases = figures.cases(found)
    measured = {call for calls in cases.values() for call in calls}
    mine = [call for call in OURS if f"ours/{call}" in measured]
    pairs = [pair for pair in PAIRS if pair[0] in mine]
    times = [[HEAD, *(call.replace("/", " ") for call in RIVALS)]]
    times += [
        [name, *(figures.micro(calls, call) for call in RIVALS)] for name, calls in cases.items()
    ]
    ours = [[HEAD, *mine]]
    ours += [[name, *(_limited(calls, call) for call in mine)] for name, calls in cases.items()]
    ratios = [[HEAD, *(f"{call} ÷ {rival.replace('/', ' ')}" for call, rival in pairs)]]
    ratios += [
        [name, *(figures.ratio(calls, rival, f"ours/{call}") for call, rival in pairs)]
        for name, calls in cases.items()
    ]
    parts = [
        "Median time of one call of the rivals [µs]:",
        figures.markdown(times),
        "Of ours [µs], and in brackets what a loop takes that reads as many bytes in the same run, "
        "the limit when weights come from memory:",
        figures.markdown(ours),
        "How many times as fast as the rival ours are; below 1 we lose:",
        figures.markdown(ratios),
        figures.footer(found),
        *([str(found["note"])] if "note" in found else []),
    ]
    return "\n\n".join(parts)


def _limited(calls: Calls, call: str) -> str:
    """A time and its limit."""
    if comparison.seconds(calls, f"ours/{call}") is None:
        return DASH
    limit = figures.micro(calls, f"ours/stream of {call}")
    return f"{figures.micro(calls, f'ours/{call}')} ({limit})"
