"""OpenCL, asked in a process of its own: a driver may abort where it should refuse."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

from ops.cli.checks.finding import Finding, ok, warn
from ops.stack.process import ROOT

PROBE = "services.gpu_worker.probe"
SECONDS = 180.0  # every kernel of a new driver is compiled from source: 9 s on PoCL, idle
ALONE = "CPU workers serve alone"
KIB, GIB = 2**10, 2**30
Answer = Mapping[str, object]


class NoAnswer(Exception):
    """The probe did not say what it found; `fix` says what may help."""

    def __init__(self, seen: str, fix: str) -> None:
        self.fix = fix
        super().__init__(seen)


def ask(command: Sequence[str] = (sys.executable, "-m", PROBE)) -> Answer:
    """What the probe says: the platforms, and a device with its kernels, or an error.

    Raises:
        NoAnswer: it hangs, was ended by the driver, or says something else.
    """
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoAnswer(f"the probe did not end: {error}", "reinstall the driver") from None
    try:
        found = json.loads(ended.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (ended.stderr.strip().splitlines() or ["without a word"])[-1]
        seen = f"the driver ended the probe with code {ended.returncode}: {last}"
        raise NoAnswer(seen, "look at the driver's own messages with `clinfo`") from None
    if not isinstance(found, dict):
        raise NoAnswer(f"the probe answered {found!r:.80}", "reinstall the suite")
    return found


def devices(answer: "Answer | NoAnswer") -> Iterator[Finding]:
    """What the GPU worker would run on, within which limits, and whether its kernels are right."""
    if isinstance(answer, NoAnswer):
        yield warn("OpenCL", f"{answer}; {ALONE}", answer.fix)
        return
    platforms = answer["platforms"]
    yield ok("platforms", "; ".join(map(str, platforms)) if isinstance(platforms, list) else "none")
    error, device = answer.get("error"), answer.get("device")
    if isinstance(error, dict):
        yield warn("OpenCL", f"{error['message']}; {ALONE}", str(error["fix"]))
    elif isinstance(device, dict):
        memory = int(device["memory"]) / GIB
        seen = f"{device['name']} ({device['driver']}), {memory:.1f} GiB, class {device['class']}"
        yield ok("OpenCL", seen)
        yield ok("limits", _limits(device))
        yield _summary(kernels(answer))


def kernels(answer: "Answer | NoAnswer") -> list[dict[str, object]]:
    """The state of each kernel; none without a device."""
    found = [] if isinstance(answer, NoAnswer) else answer.get("kernels", [])
    return [dict(kernel) for kernel in found] if isinstance(found, list) else []


def state(kernel: Mapping[str, object]) -> str:
    """One word for a kernel: ok, wrong, refused."""
    if kernel["right"]:
        return "ok"
    return "wrong" if kernel["built"] else "refused"


def values(kernel: Mapping[str, object]) -> str:
    """With which values it is launched."""
    tuned = kernel["tuned"]
    if isinstance(tuned, list) and tuned:
        gains = sorted(float(entry["gain"]) for entry in tuned)
        shapes = f"{len(tuned)} shape class{'es' if len(tuned) > 1 else ''}"
        span = f"×{gains[0]:.2f}" + (f" to ×{gains[-1]:.2f}" if len(tuned) > 1 else "")
        return f"tuned for {shapes}, {span}"
    return "start values" if kernel["tunables"] else "fixed"


def _limits(device: Mapping[str, object]) -> str:
    limits = device["limits"]
    assert isinstance(limits, dict)  # the probe is our own
    parts = (
        f"groups of {limits['group']}",
        f"{limits['local_bytes'] / KIB:.0f} KiB local memory",
        f"buffers of {limits['buffer_bytes'] / GIB:.2f} GiB",
        f"f64 {'computed' if device['doubles'] else 'absent'}",
        f"f16 stored through {device['half']}",
    )
    return ", ".join(parts)


def _summary(found: list[dict[str, object]]) -> Finding:
    bad = [kernel for kernel in found if not kernel["right"]]
    tuned = sum(bool(kernel["tuned"]) for kernel in found)
    seen = f"{len(found) - len(bad)} of {len(found)} built with the right answer, {tuned} tuned"
    if bad:
        names = ", ".join(f"{kernel['name']} ({state(kernel)})" for kernel in bad)
        return warn("kernels", f"{seen}; {names}; {ALONE}", str(bad[0].get("fix")))
    return ok("kernels", seen)
