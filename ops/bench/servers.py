"""The servers under comparison: our stack, and MLServer with and without its batching."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np

from ops.bench import rivals

ROOT = Path(__file__).parents[2]
PEER_PACKAGES = ("mlserver==1.7.1",)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def weights(*, seed: int = 0) -> dict[str, np.ndarray]:
    """The MLP 784-1024-1024-10 of the comparison, float32."""
    rng = np.random.default_rng(seed)
    sizes = (784, 1024, 1024, 10)
    made: dict[str, np.ndarray] = {}
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        scale = np.sqrt(2 / inputs)
        made[f"weight_{index}"] = (rng.standard_normal((outputs, inputs)) * scale).astype("f4")
        made[f"bias_{index}"] = rng.standard_normal(outputs).astype("f4")
    return made


@contextmanager
def mlserver(folder: Path, *, batching: bool) -> Iterator[str]:
    """MLServer inline (no worker processes), one BLAS thread; yields its gRPC address."""
    command, ports = rivals.environment("mlserver", PEER_PACKAGES) / "mlserver", free_ports(3)
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "ops/bench/peers/mlserver_mlp.py", folder / "mlp.py")
    np.savez(folder / "weights.npz", **weights())
    server = {"http_port": ports[0], "grpc_port": ports[1], "metrics_port": ports[2]}
    server |= {"host": "127.0.0.1", "parallel_workers": 0, "debug": False}
    model: dict[str, object] = {"name": "mlp", "implementation": "mlp.Mlp"}
    model["parameters"] = {"uri": str(folder / "weights.npz")}
    if batching:
        model |= {"max_batch_size": 64, "max_batch_time": 0.005}
    (folder / "settings.json").write_text(json.dumps(server))
    (folder / "model-settings.json").write_text(json.dumps(model))
    with _process([command, "start", folder], folder / "log") as process:
        _wait_for_port(ports[1], process)
        yield f"127.0.0.1:{ports[1]}"


@contextmanager
def ellesmere(folder: Path, *, cpu_workers: int = 1, gpu_workers: int = 0) -> Iterator[dict]:
    """Our stack through `ellesmere up`; yields what it prints when it is ready."""
    program = Path(sys.executable).with_name("ellesmere")
    command = [program, "up", "--ports", "auto", "--data", folder]
    command += ["--cpu-workers", str(cpu_workers), "--gpu-workers", str(gpu_workers)]
    folder.mkdir(parents=True)
    with _process(command, folder / "up.log", stdout=subprocess.PIPE) as process:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"the stack did not start: {(folder / 'up.log').read_text()[-2000:]}"
            )
        yield json.loads(line)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


@contextmanager
def _process(command: list, log: Path, **options: object) -> Iterator[subprocess.Popen]:
    with log.open("wb") as sink:
        options = {"stdout": sink} | options
        process = subprocess.Popen(
            [str(part) for part in command],
            stderr=sink,
            cwd=log.parent if "mlserver" in str(command[0]) else ROOT,
            env=os.environ | ONE_THREAD,
            **options,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_port(port: int, process: subprocess.Popen, *, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args} left with {process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(f"port {port} did not open within {seconds} s")
