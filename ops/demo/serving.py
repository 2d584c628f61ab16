"""The demo's first half: add the model, measure it, compress it, serve every variant."""

import time
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from ops.demo.digits import Digits
from ops.demo.findings import Findings, VariantRow
from ops.demo.story import Story
from ops.report import page
from shared.client.client import Client
from shared.client.jobs import raise_for
from shared.contracts.v1.jobs import Body, CompressBody, JobFinished, ProfileBody
from shared.contracts.v1.models import ModelManifest, Variant
from shared.contracts.v1.recipes import Budget
from shared.contracts.v1.workers import DeviceProfile
from shared.tensors import layouts
from shared.tensors.layouts import Tensor

MODEL = "digits"
MAX_DROP = 0.02
CALLS = 100  # timed gRPC calls of one row per variant
PATIENCE = 120.0  # [s] for one job


async def add(client: Client, network: bytes, findings: Findings, story: Story) -> None:
    """Import the ONNX file and wait until workers have it."""
    manifest = await client.add_model(MODEL, network)
    findings.coverage = manifest.coverage
    found = ", ".join(f"{count} x {name}" for name, count in manifest.coverage.items())
    story.tell(f"imported {len(network):,} bytes of ONNX: {found}; nothing unsupported")


async def profile(client: Client, findings: Findings, story: Story) -> None:
    """Measure the model on every class; the devices were measured when their workers came."""
    for variant in (await client.describe_model(MODEL))[0].variants:
        await _run(client, ProfileBody(model=MODEL, variant=variant.name))
    findings.devices = [_device(found) for found in (await client.status()).devices]
    for device in findings.devices:
        story.tell("measured " + ", ".join(f"{name} {value}" for name, value in device.items()))


async def compress(client: Client, digits: Digits, findings: Findings, story: Story) -> None:
    """INT8 and 90 % sparse CSR: asked to be faster first, and when refused, to be smaller."""
    judged = {"x": layouts.dense(digits.held_x), "labels": layouts.dense(digits.held_labels)}
    for method in ("int8", "prune_csr"):
        for objective in ("latency", "size"):
            body = CompressBody(
                model=MODEL, method=method, objective=objective, max_accuracy_drop=MAX_DROP
            )
            record = await _run(client, body, judged)
            told = f"{method} for {objective}: {_reason(record)}"
            story.tell(told)
            if record.report["accepted"]:
                break
            findings.refused.append(told)


async def search(client: Client, digits: Digits, report: Path, story: Story) -> None:
    """Let the suite find what suits: bits, pruning with training, training that stays sparse."""
    tensors = {
        "x": layouts.dense(digits.held_x),
        "labels": layouts.dense(digits.held_labels),
        "train_x": layouts.dense(digits.x),
        "train_labels": layouts.dense(digits.labels),
    }
    body = CompressBody(model=MODEL, action="search", budget=Budget(accuracy=MAX_DROP))
    record = await _run(client, body, tensors)
    for one in page.points(record.report):
        story.tell(
            f"{one['name']}: {100 * float(str(one['accuracy'])):.2f} %, {one['bytes']:,} bytes"
        )
    story.tell(_reason(record) or str(record.report.get("reason")))
    page.write(record.report, report)


async def serve(client: Client, digits: Digits, findings: Findings, story: Story) -> None:
    """Classify the held-out digits with every variant through gRPC, and time single rows."""
    manifest, route = await client.describe_model(MODEL)
    for variant in manifest.variants:
        await _wait_ready(client, variant.name)
        scores = await _scores(client, digits, variant.name)
        right = scores.argmax(axis=1) == digits.held_labels
        interval = binomtest(int(right.sum()), len(right)).proportion_ci(0.95, method="wilson")
        choices = route.choices.get(variant.name, ()) if route else ()
        findings.variants.append(
            VariantRow(
                name=variant.name,
                bytes=variant.weight_bytes,
                accuracy=float(right.mean()),
                interval=(float(interval.low), float(interval.high)),
                p50=_times(variant, "p50"),
                p99=_times(variant, "p99"),
                served_p50=await _served(client, digits, variant.name),
                placed_on=choices[0].worker_class if choices else "nowhere",
                reason=choices[0].reason if choices else "no route",
                verdict=_verdict(manifest, variant),
            )
        )
    story.table(findings)


async def _run(client: Client, body: Body, tensors: dict[str, Tensor] | None = None) -> JobFinished:
    receipt = await client.submit(body, tensors)
    record, _ = await client.result(receipt.job, timeout=PATIENCE)
    raise_for(record)
    return record


async def _wait_ready(client: Client, variant: str) -> None:
    """Poll readiness as a client of the protocol would; PATIENCE bounds it."""
    until = time.monotonic() + PATIENCE
    while not await client.ready(MODEL, variant):
        if time.monotonic() > until:
            raise TimeoutError(f"no worker loaded {MODEL} {variant} within {PATIENCE:.0f} s")


async def _scores(client: Client, digits: Digits, variant: str) -> np.ndarray:
    outputs = await client.infer(MODEL, {"pixels": digits.held_x}, version=variant)
    return outputs["scores"]


async def _served(client: Client, digits: Digits, variant: str) -> float:
    """Median time of a call of one row as a client sees it [s]."""
    times = []
    for index in range(CALLS):
        row = digits.held_x[index : index + 1]
        started = time.perf_counter()
        await client.infer(MODEL, {"pixels": row}, version=variant)
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def _times(variant: Variant, which: str) -> dict[str, float]:
    single = [latency for latency in variant.latencies if latency.batch == 1]
    return {latency.worker_class: getattr(latency, which) for latency in single}


def _verdict(manifest: ModelManifest, variant: Variant) -> str:
    serves = "; serves by default" if variant.name == manifest.default else ""
    if variant.verdict is None:
        return "as imported" + serves
    return f"accepted for {variant.verdict.objective}{serves}"


def _reason(record: JobFinished) -> str:
    verdict = record.report.get("verdict")  # none where a search kept nothing
    return str(verdict["reason"]) if isinstance(verdict, dict) else ""


def _device(profile: DeviceProfile) -> dict[str, object]:
    return {
        "class": profile.worker_class,
        "device": profile.device,
        "copy": f"{profile.copy_bandwidth.median / 1e9:.1f} GB/s",
        "GEMM": f"{profile.gemm_rate.median / 1e9:.1f} GFLOP/s",
        "SpMM": f"{profile.spmm_rate.median / 1e9:.2f} GFLOP/s",
        "launch": f"{profile.launch.median * 1e6:.0f} µs",
        "samples": f"{profile.gemm_rate.samples}, {profile.steal:.0%} stolen",
    }
