"""OpenCL, asked in a process of its own: a driver may abort where it should refuse."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping

from ops.cli.checks.finding import Finding, ok, warn
from ops.stack.process import ROOT

PROBE = "services.gpu_worker.probe"
SECONDS = 90.0  # the first kernel of a new driver is compiled from source
ALONE = "CPU workers serve alone"


def devices() -> Iterator[Finding]:
    """What the GPU worker would run on, whether PoCL could link, and which platforms there are."""
    try:
        ended = subprocess.run(
            [sys.executable, "-m", PROBE],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=ROOT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        yield warn("OpenCL", f"the probe did not end: {error}; {ALONE}", "reinstall the driver")
        return
    try:
        found = json.loads(ended.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (ended.stderr.strip().splitlines() or ["without a word"])[-1]
        seen = f"the driver ended the probe with code {ended.returncode}: {last}; {ALONE}"
        yield warn("OpenCL", seen, "look at the driver's own messages with `clinfo`")
        return
    yield from _explain(found)


def _explain(found: Mapping[str, object]) -> Iterator[Finding]:
    """Findings from the probe's answer."""
    platforms = found["platforms"]
    yield ok("platforms", "; ".join(map(str, platforms)) if isinstance(platforms, list) else "none")
    error, device = found.get("error"), found.get("device")
    if isinstance(error, dict):
        yield warn("OpenCL", f"{error['message']}; {ALONE}", str(error["fix"]))
    elif isinstance(device, dict):
        memory = int(device["memory"]) / 2**30
        seen = f"{device['name']} ({device['driver']}), {memory:.1f} GiB, class {device['class']}"
        yield ok("OpenCL", f"{seen}; a kernel was built and gave the right answer")
