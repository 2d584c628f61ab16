"""Tables and lists as a person sees them on a narrow terminal."""

import io

from rich.console import Console, RenderableType

from ops.cli import session
from ops.cli.compress import _screen
from ops.cli.models import _details
from shared.contracts.v1.jobs import BlobRef, JobFinished, Status
from shared.contracts.v1.models import Latency, ModelManifest, PortSignature, Variant, Verdict


def shown(what: RenderableType, *, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(what)
    return out.getvalue().splitlines()


def test_name_of_a_row_is_not_broken_when_the_rest_is() -> None:
    table = session.columns("worker", "device")
    table.add_row("cpu-worker-vm-10647", "Intel(R) Xeon(R) Processor")

    lines = shown(table, width=32)

    assert lines[1].startswith("cpu-worker-vm-10647  Intel(R)")


def test_measured_times_of_a_model_are_listed_by_class_and_batch() -> None:
    latencies = [
        Latency(worker_class=worker_class, device="d", batch=batch, p50=0.1, p99=0.2, samples=9)
        for worker_class, batch in (("gpu", 1), ("cpu", 64), ("cpu", 1))
    ]
    artifact = BlobRef(sha256="0" * 64, size=1)
    dense = Variant(name="dense", artifact=artifact, weight_bytes=1, latencies=tuple(latencies))
    port = PortSignature(name="x", dtype="f32", shape=(-1, 1))
    manifest = ModelManifest(model="m", inputs=(port,), outputs=(port,), variants=(dense,))

    lines = shown(_details(manifest, None), width=120)

    times = [line.partition(":")[0] for line in lines if "samples" in line]
    assert times == ["dense on cpu, batch 1", "dense on cpu, batch 64", "dense on gpu, batch 1"]


def test_layers_of_a_compressed_model_are_listed_with_their_reasons() -> None:
    layer = {"step": "wide", "operator": "spmm_sell", "sparsity": 0.9, "reason": "0.1 ms"}
    verdict = Verdict(accepted=False, reason="refused: too slow").model_dump()
    record = JobFinished(
        job="j",
        tenant="t",
        kind="compress",
        status=Status.SUCCEEDED,
        report={"verdict": verdict, "layers": [layer]},
    )

    lines = shown(_screen(record), width=80)

    assert lines[0] == "refused: too slow"
    assert lines[-1].split() == ["wide", "spmm_sell", "90%", "0.1", "ms"]
