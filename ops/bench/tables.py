"""Results of the product benchmarks as pages; ``python -m ops.bench.tables`` writes them.

Every figure is read from a results file; a cell without a clean sample says so with a dash.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ops.bench import figures, modelled, quantized_table
from ops.bench import kernels as kernels_bench
from ops.bench import quantized as quantized_bench
from ops.bench import sparse as sparse_bench
from ops.bench import spiking as spiking_bench
from ops.bench.figures import DASH, Calls
from ops.bench.turns import ROOT

RIVALS = ("numpy/dense", "scipy/csr", "mkl/csr", "torch/csr")
OURS = ("csr f32", "csr f32 short", "csr f16", "csr i8", "block f32", "block f16", "block i8")
EXCERPT = tuple(f"{n} 90% {columns}" for n in (4096, 8192) for columns in (1, 8, 64))
EXCERPT_RIVALS = ("numpy/dense", "scipy/csr", "torch/csr")
LIMITS = {  # heading -> the call that reaches most, and what is counted of it
    "of a copy's bytes/s": ("opencl/copy", "moved"),
    "of the multiply-adds/s": ("opencl/multiply-adds", "flops"),
}


def sparse(found: Mapping[str, object]) -> str:
    """Times of everybody [µs], then how many times as fast as MKL's CSR ours are."""
    cases = figures.cases(found)
    rows = [["n, zeros, columns", *RIVALS, *OURS]]
    rows += [
        [name, *(figures.micro(calls, c) for c in RIVALS), *(_ours(calls, c) for c in OURS)]
        for name, calls in cases.items()
    ]
    ratios = [["n, zeros, columns", *(f"{call} ÷ mkl" for call in OURS), "block f32 ÷ numpy dense"]]
    for name, calls in cases.items():
        cells = [figures.ratio(calls, "mkl/csr", f"ours/{call}") for call in OURS]
        dense = figures.ratio(calls, "numpy/dense", "ours/block f32")
        ratios.append([name, *cells, dense])
    shares = [["n, zeros, columns", *OURS]]
    shares += [[n, *(_share(calls, call) for call in OURS)] for n, calls in cases.items()]
    parts = [
        "Median time of one call [µs]:",
        figures.markdown(rows),
        "How many times as fast as MKL's CSR of the same sparsity, and as numpy's dense product:",
        figures.markdown(ratios),
        "Bytes per second, as a share of a loop that reads as many bytes in the same run:",
        figures.markdown(shares),
        figures.footer(found),
    ]
    return "\n\n".join(parts)


def summary(found: Mapping[str, object]) -> str:
    """An excerpt of `sparse`: how many times as fast as MKL's CSR everybody is at 90 % zeros."""
    rows = [["n, zeros, columns", "mkl csr [µs]", "numpy dense", "scipy csr", "torch csr", *OURS]]
    for name, calls in figures.cases(found).items():
        if name in EXCERPT:
            names = [*EXCERPT_RIVALS, *(f"ours/{c}" for c in OURS)]
            cells = [figures.ratio(calls, "mkl/csr", call) for call in names]
            rows.append([name, figures.micro(calls, "mkl/csr"), *cells])
    return f"{figures.markdown(rows)}\n\n{figures.footer(found)}"


def kernels(found: Mapping[str, object]) -> str:
    """Measured on the device of the run, beside its rivals, and modelled for an RX 580."""
    cases = figures.cases(found)
    rows = [["case", "kernel", "measured [µs]", "÷ naive", "÷ rival", *LIMITS]]
    limits = cases.get("limits", {})
    for name, calls in cases.items():
        mine = [call.removeprefix("opencl/") for call in calls if _is_ours(call)]
        rows += [_kernel(name, call, calls, limits) for call in mine if name != "limits"]
    model = [["case", "kernel", "modelled for an RX 580 [µs]: best, typical, worst"]]
    for name, calls in cases.items():
        mine = [call for call in calls if _is_ours(call) and name != "limits"]
        model += [[name, call.removeprefix("opencl/"), _modelled(call, calls)] for call in mine]
    reached = ", ".join(_limit(call, held) for call, held in limits.items())
    return "\n\n".join(
        [
            f"Measured. At most, in the same run: {reached}.",
            figures.markdown(rows),
            "Modelled, not measured: an RX 580 with resident weights, x and y over PCIe.",
            figures.markdown(model),
            figures.footer(found),
        ]
    )


def _is_ours(call: str) -> bool:
    return call.startswith("opencl/") and "naive" not in call and "clblast" not in call


def _kernel(name: str, call: str, calls: Calls, limits: Calls) -> list[str]:
    layout = call.split(" ", 1)[0]
    naive = figures.ratio(calls, f"opencl/naive {layout}", f"opencl/{call}")
    if layout == "csc":
        naive = figures.ratio(calls, "opencl/naive csr", f"opencl/{call}")
    rival = "opencl/clblast gemm" if name.startswith("dense") else "viennacl/csr"
    versus = figures.ratio(calls, rival, f"opencl/{call}")
    if layout == "nm":  # another matrix
        versus = DASH
    held = calls[f"opencl/{call}"]
    reached = [_of_limit(held, limits, *limit) for limit in LIMITS.values()]
    return [name, call, figures.micro(calls, f"opencl/{call}"), naive, versus, *reached]


def _of_limit(held: Mapping[str, object], limits: Calls, call: str, amount: str) -> str:
    """A call's bytes or flops per second, as a share of what the device reaches at most."""
    if call not in limits or not held["seconds"] or not limits[call]["seconds"]:
        return DASH
    mine, most = (
        figures.number(one[amount]) / figures.number(one["seconds"]) for one in (held, limits[call])
    )
    return f"{mine / most:.0%}"


def _modelled(call: str, calls: Calls) -> str:
    kind = call.removeprefix("opencl/").split(" ", 1)[0]
    held = calls[call]
    flops, crossing = figures.number(held["flops"]), figures.number(held["crossing"])
    ends = modelled.seconds(kind, figures.number(held["moved"]), flops, crossing)
    return ", ".join(f"{1e6 * end:.0f}" for end in ends)


def _limit(call: str, held: Mapping[str, object]) -> str:
    seconds = held["seconds"]
    if not isinstance(seconds, float):
        return f"{call} {DASH}"
    amount = dict(LIMITS.values())[call]
    unit = "GB/s" if amount == "moved" else "GFLOP/s"
    return (
        f"{call.removeprefix('opencl/')} {figures.number(held[amount]) / seconds / 1e9:.0f} {unit}"
    )


def _share(calls: Calls, call: str) -> str:
    """Our bytes per second over those of the streaming loop of the same bytes."""
    streamed = figures.ratio(calls, f"ours/stream of {call}", f"ours/{call}")
    return DASH if streamed == DASH else f"{float(streamed):.0%}"


def _ours(calls: Calls, call: str) -> str:
    return figures.micro(calls, f"ours/{call}")


DOCS = ROOT / "ops/docs"
PAGES: Mapping[str, tuple[Callable[[Mapping[str, object]], str], Path, Path, str]] = {
    "sparse": (
        sparse,
        sparse_bench.RESULTS,
        DOCS / "sparse-speed.md",
        "# Sparse products on the CPU\n\n`ellesmere bench sparse`: square matrices, float32 x, two "
        "threads, every side in turns within one run. `short` has 16-bit indices, as f16 and i8 "
        "have; `block` is 16 × 16 on a matrix whose blocks are zero at the same share.",
    ),
    "kernels": (
        kernels,
        kernels_bench.RESULTS / "kernels-pocl.json",
        DOCS / "kernel-speed.md",
        "# OpenCL products\n\n`ellesmere bench kernels`: weights, x and y stay on the device; a "
        "call runs one product and waits for it. The rival of sparse products is ViennaCL's CSR, "
        "that of dense ones CLBlast. The obvious kernel has one work-item per element of y and "
        "reads float32 whatever ours reads. `nm` is a 2:4 matrix at any sparsity. The device is "
        "PoCL, that is, a CPU.",
    ),
    "quantized": (
        quantized_table.whole,
        quantized_bench.RESULTS,
        DOCS / "quantized-speed.md",
        "# Quantized products on the CPU\n\n`ellesmere bench quantized`: square weights, two "
        "threads, every side in turns within one run. `x 8` rounds rows of x to bytes within the "
        "call, as `dynamic` and MatMulNBits `x 8` do; MatMulInteger is given bytes, returns int32. "
        "Four bits have a scale per 32 columns.",
    ),
    "spiking": (
        spiking_bench.whole,
        spiking_bench.RESULTS,
        DOCS / "spiking-speed.md",
        "# Spiking networks on the CPU\n\n`ellesmere bench spiking`: 784-128-10 of leaky neurons, "
        "100 steps, rates to spikes and counts of spikes within the call, every side in turns "
        "within one run. Ours spaces spikes evenly, the rivals draw them; the rates are the same. "
        "Calls go into each library directly, without a server.\n\n![Time of a layer over the "
        "share of inputs that spike: in proportion to it, until BLAS takes over]"
        "(pictures/spiking-paths.png)\n\nA layer of 128 neurons with 784 inputs, 100 steps, 32 "
        "rows, one thread: silence is free, and BLAS takes over where it becomes the faster "
        "(`python -m ops.bench.spiking_paths`, raw samples in "
        "[ops/bench/results/spiking-paths.json](../../ops/bench/results/spiking-paths.json)).",
    ),
}


def page(name: str) -> str:
    """The whole page of a benchmark, made from its committed results."""
    table, results, _, head = PAGES[name]
    raw = results.relative_to(ROOT)
    body = table(json.loads(results.read_text()))
    return f"{head}\n\n{body}\n\nRaw samples: [{raw}](../../{raw}). {SOURCE}\n"


SOURCE = "This page is printed by `python -m ops.bench.tables`; a test compares."

if __name__ == "__main__":
    for wanted in sys.argv[1:] or PAGES:
        PAGES[wanted][2].write_text(page(wanted))
