"""The main job on real data, from an ONNX file to a report with pictures, in about a minute."""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import anyio
from rich.console import Console
from threadpoolctl import threadpool_limits

from ops.bench import machine
from ops.demo import digits as data
from ops.demo import durability, mlp, page, pictures, serving, spikes
from ops.demo.findings import Findings
from ops.demo.story import Story
from ops.stack import local, ports
from ops.stack.local import Stack
from ops.stack.plan import StackSettings
from shared.chassis import telemetry
from shared.client.client import Client
from shared.contracts.errors import SuiteError

CPU_WORKERS = 2


def run(report: Path, *, as_json: bool = False) -> int:
    """Run the demo and write `report`/index.html; returns the exit code."""
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 160)
    story, findings = Story(console), Findings(machine=machine.facts())
    telemetry.configure("demo", level="error")
    with tempfile.TemporaryDirectory(prefix="ellesmere-demo-") as folder:
        try:
            anyio.run(_tell, Path(folder), story, findings, report)
        except (SuiteError, RuntimeError, TimeoutError) as error:
            console.print(f"[bold red]the demo failed:[/] {error}", soft_wrap=True)
            return 1
    findings.seconds = story.seconds
    report.mkdir(parents=True, exist_ok=True)
    written = page.write(findings, pictures.draw(findings, report), report)
    story.chapter(f"report: {written}")
    if as_json:
        shown = replace(findings, spiking=None, kill=None)
        sys.stdout.write(json.dumps(page.plain(shown), default=str) + "\n")
    return 0


async def _tell(folder: Path, story: Story, findings: Findings, report: Path) -> None:
    story.chapter("train a digit classifier (64-1024-1024-10) on 1,437 scans, write it as ONNX")
    digits = data.load()
    with threadpool_limits(1):  # threads that spin for each other lose more than they win here
        network = mlp.to_onnx(data.train(digits, data.Training()))
    story.chapter(f"start the stack: broker, six services, 1 GPU and {CPU_WORKERS} CPU workers")
    settings = StackSettings(
        data=folder / "data",
        ports=ports.free(),
        cpu_workers=CPU_WORKERS,
        log=folder / "services.log",
    )
    async with local.running(settings, say=story.tell) as stack:
        async with Client(settings.grpc) as client:
            await _serve(client, network, digits, findings, story, report / "compression")
            await _endure(stack, client, digits, findings, story)
        story.chapter("stop the stack")


async def _serve(
    client: Client,
    network: bytes,
    digits: data.Digits,
    findings: Findings,
    story: Story,
    report: Path,
) -> None:
    story.chapter("import and profile")
    await serving.add(client, network, findings, story)
    await serving.profile(client, findings, story)
    story.chapter("compress: keep what is accurate and meets its objective where it will run")
    await serving.compress(client, digits, findings, story)
    story.chapter(
        "search: bits, pruning with training, RigL; all measured side by side, the best is kept"
    )
    await serving.search(client, digits, report, story)
    await serving.profile(client, findings, Story(Console(quiet=True)))
    story.chapter("serve every variant through gRPC: 360 held-out digits, then single rows")
    await serving.serve(client, digits, findings, story)


async def _endure(
    stack: Stack, client: Client, digits: data.Digits, findings: Findings, story: Story
) -> None:
    story.chapter("publish a sparse product with plain nats-py")
    await durability.operator_job(stack.settings.nats, findings, story)
    story.chapter(f"publish {durability.JOBS} durable jobs and kill a worker among them")
    workers = lambda: stack.services.pids()["cpu-worker"]  # noqa: E731 - read at the kill
    await durability.kill_test(stack.settings.nats, workers, findings, story)
    story.chapter("classify the same digits with spiking neurons")
    await spikes.classify(client, digits, findings, story)
