"""How long a request takes on its way: decisions, interactive calls beside MLServer, durable jobs.

``ellesmere bench`` runs this; the results go to ops/bench/results/flow.json. Servers are measured
in turns within one run, and a window counts only while at most 5 % of CPU time was stolen.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from ops.bench import decisions, floor, machine, servers
from ops.demo import mlp
from shared.client.client import Client
from shared.contracts.v1.jobs import OperatorBody
from shared.tensors import layouts

RESULTS = Path(__file__).parent / "results" / "flow.json"
CONCURRENCY = (1, 8, 64)
WINDOW = 1.0  # [s]
ROUNDS = 6  # clean windows wanted per server and concurrency
TRIES = 24  # windows at most
DURABLE_JOBS = 200


@dataclass(slots=True)
class Cell:
    """One server at one concurrency: every clean window."""

    rates: list[float] = field(default_factory=list)  # [requests/s] per window
    latencies: list[list[float]] = field(default_factory=list)  # [s] per window
    steal: list[float] = field(default_factory=list)  # of every window, also of those dropped

    def summary(self) -> dict[str, float]:
        """Medians over windows of p50 [s], p99 [s] and requests/s."""
        if not self.rates:
            return {}
        quantiles = [np.percentile(times, [50, 99]) for times in self.latencies]
        p50, p99 = np.median(quantiles, axis=0)
        return {"p50": float(p50), "p99": float(p99), "rate": float(np.median(self.rates))}


def run(results: Path | None = None, *, as_json: bool = False) -> int:
    """Measure everything and write the results; returns the exit code."""
    console = Console(stderr=True)
    with console.status("scheduling decisions"):
        decided = decisions.measure()
    with console.status("interactive calls, in turns"), _servers() as (rivals, ours):
        cells = _interactive(rivals)
        with console.status("durable jobs"):
            durable = asyncio.run(_durable(ours["grpc"]))
        with console.status("round trips alone"), threadpool_limits(1):
            alone = floor.measure(ours["grpc"], ours["nats"], _layers())
    found = {
        "machine": machine.facts(),
        "device": "CPU worker (numpy, one BLAS thread); one gateway, one CPU worker",
        "decision": decided,
        "interactive": {
            name: {str(c): cell.summary() for c, cell in by.items()} for name, by in cells.items()
        },
        "durable": durable,
        "floor": alone,
        "raw": {
            name: {
                str(c): {"rates": cell.rates, "latencies": cell.latencies, "steal": cell.steal}
                for c, cell in by.items()
            }
            for name, by in cells.items()
        },
    }
    target = results or RESULTS
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(_rounded(found)) + "\n")
    if as_json:
        sys.stdout.write(json.dumps({key: found[key] for key in found if key != "raw"}) + "\n")
    else:
        _show(console, found)
    return 0


@contextmanager
def _servers() -> Iterator[tuple[dict[str, tuple[str, str]], dict]]:
    """Everything that is compared, running: name -> (address, input name)."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        plain = stack.enter_context(servers.mlserver(root / "plain", batching=False))
        batching = stack.enter_context(servers.mlserver(root / "batching", batching=True))
        ours = stack.enter_context(servers.ellesmere(root / "ellesmere"))
        asyncio.run(_add_model(ours["grpc"]))
        yield (
            {
                "mlserver": (plain, "x"),
                "mlserver, adaptive batching": (batching, "x"),
                "ellesmere": (ours["grpc"], "pixels"),
            },
            ours,
        )


async def _add_model(address: str) -> None:
    layers = _layers()
    async with Client(address) as client:
        await client.add_model("mlp", mlp.to_onnx(layers))
        x = np.random.default_rng(0).random((4, 784), np.float32)
        scores = (await client.infer("mlp", {"pixels": x}))["scores"]
        np.testing.assert_allclose(scores, mlp.predict(layers, x), rtol=1e-4, atol=1e-4)


def _layers() -> list[mlp.Layer]:
    held = servers.weights()
    return [mlp.Layer(held[f"weight_{i}"], held[f"bias_{i}"]) for i in range(3)]


def _interactive(rivals: dict[str, tuple[str, str]]) -> dict[str, dict[int, Cell]]:
    cells = {name: {count: Cell() for count in CONCURRENCY} for name in rivals}
    for _ in range(TRIES):
        open_cells = [
            (name, count)
            for count in CONCURRENCY
            for name in rivals
            if len(cells[name][count].rates) < ROUNDS
        ]
        if not open_cells:
            break
        for name, count in open_cells:
            _window(cells[name][count], *rivals[name], count)
    return cells


def _window(cell: Cell, address: str, port: str, concurrency: int) -> None:
    """One window of load from a process of its own; kept when little was stolen."""
    command = [sys.executable, "-m", "ops.bench.load", address, "mlp", port]
    command += [str(concurrency), str(WINDOW)]
    with machine.watching_steal() as steal:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60, cwd=servers.ROOT
        )
    cell.steal.append(steal.share)
    if steal.clean:
        seen = json.loads(done.stdout)
        cell.rates.append(seen["requests"] / seen["seconds"])
        cell.latencies.append(seen["latencies"])


async def _durable(address: str) -> dict[str, object]:
    """Time from submitting a durable job to its start at a worker, one at a time [s]."""
    x = layouts.dense(np.ones((4, 64), np.float32))
    waits: list[float] = []
    stolen: list[float] = []
    async with Client(address) as client:
        for index in range(DURABLE_JOBS + 10):
            with machine.watching_steal() as steal:
                submitted = time.time()
                receipt = await client.submit(OperatorBody(operator="relu"), {"x": x})
                record, _ = await client.result(receipt.job, timeout=30)
            if index >= 10:
                waits.append(record.timing.started_at - submitted)
                stolen.append(steal.share)
    p50, p99 = np.percentile(waits, [50, 99])
    return {"p50": float(p50), "p99": float(p99), "samples": waits, "steal": stolen}


def _rounded(value: object) -> object:
    """Seven significant digits are more than any clock here resolves."""
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return value


def _show(console: Console, found: dict) -> None:
    table = Table("server", "in flight", "p50 [ms]", "p99 [ms]", "requests/s", box=None)
    for name, by in found["interactive"].items():
        for count, cell in by.items():
            times = [f"{cell[key] * 1e3:.2f}" for key in ("p50", "p99")] if cell else ["–", "–"]
            table.add_row(name, count, *times, f"{cell['rate']:.0f}" if cell else "no clean window")
    console.print(table)
    decision, durable = found["decision"], found["durable"]
    p50, p99, own = (decision[key] * 1e6 for key in ("p50", "p99", "own_p99"))
    console.print(
        f"scheduling decision: p50 {p50:.0f} µs, p99 {p99:.0f} µs, undisturbed {own:.0f} µs"
    )
    console.print(
        f"durable submit to start: p50 {durable['p50'] * 1e3:.1f} ms, "
        f"p99 {durable['p99'] * 1e3:.1f} ms"
    )
