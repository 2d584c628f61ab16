"""The machine: Python, packages, ports, disk."""

import importlib.metadata
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ops.cli.checks.finding import Finding, fail, ok, warn
from ops.stack import ports
from ops.stack.ports import Ports

OLDEST = (3, 11)
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
SYNCS = 20
SLOW_SYNC = 0.020  # [s] durable intake is at most 1 / this per connection
NAME = re.compile(r"[A-Za-z0-9._-]+")


def python(version: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Whether the interpreter is recent enough."""
    shown = ".".join(map(str, version))
    if version < OLDEST:
        return fail("python", f"{shown} at {sys.executable}", "install Python 3.11 or later")
    return ok("python", f"{shown}, {platform.machine()}, {os.cpu_count()} cores")


def packages() -> Finding:
    """Whether what the suite imports is installed, in the versions it is tested with."""
    pinned = dict(_pins())
    missing, others = [], []
    for name in _required():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if pinned.get(_plain(name), version) != version:
            others.append(f"{name} {version} instead of {pinned[_plain(name)]}")
    if missing:
        return fail("packages", f"not installed: {', '.join(missing)}", "make setup")
    if others:
        return warn("packages", "; ".join(others), "make setup installs the tested versions")
    return ok("packages", f"{len(_required())} installed as pinned")


def addresses(usual: Ports) -> Iterator[Finding]:
    """Whether the usual ports are free; one that is taken may be our own stack's."""
    for name, port in (("gRPC", usual.grpc), ("metrics", usual.metrics), ("NATS", usual.nats)):
        if ports.is_free(port):
            yield ok(f"port {port}", f"free for {name}")
        else:
            fix = "if that is not Ellesmere: `ellesmere up --ports auto`"
            yield warn(f"port {port}", f"in use; {name} listens there by default", fix)


def disk(folder: Path) -> Finding:
    """How long a small write takes to be on the disk: every accepted job waits for one."""
    existing = next(path for path in (folder, *folder.resolve().parents) if path.is_dir())
    try:
        times = _sync_times(existing)
    except OSError as error:
        return fail("disk", f"{existing}: {error.strerror}", "choose another folder with --data")
    median = statistics.median(times)
    seen = f"fsync {median * 1e3:.2f} ms (slowest of {SYNCS}: {max(times) * 1e3:.1f}) in {existing}"
    if median > SLOW_SYNC:
        return warn("disk", seen, "keep --data on a local SSD: each durable job waits for a sync")
    return ok("disk", seen)


def _sync_times(folder: Path) -> list[float]:
    times = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            start = time.perf_counter()
            file.write(b"\0" * 512)
            file.flush()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - start)
    return times


def _required() -> list[str]:
    """Names of the packages that the suite needs at run time."""
    lines = importlib.metadata.requires("ellesmere") or []
    found = [NAME.match(line) for line in lines if "extra ==" not in line]
    return [match.group() for match in found if match]


def _pins() -> Iterator[tuple[str, str]]:
    if CONSTRAINTS.exists():
        for line in CONSTRAINTS.read_text().splitlines():
            name, _, version = line.partition("==")
            yield _plain(name), version


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
