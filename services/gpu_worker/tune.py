"""Search for values that suit the device at hand; one JSON line on stdout, progress on stderr.

    python -m services.gpu_worker.tune [--operator NAME]... [--budget-s SECONDS]

`ellesmere tune` starts it as a process of its own: a driver may abort on what a search tries.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import closing
from time import perf_counter

from msgspec.structs import replace

from services.gpu_worker.backend import OpenCLBackend, open_backend
from services.gpu_worker.settings import GpuSettings
from services.gpu_worker.tuned import entry, plan, space, store
from services.gpu_worker.tuned.entry import Document
from services.gpu_worker.tuned.plan import Measured, Plan
from services.gpu_worker.tuned.problems import Problem
from services.gpu_worker.tuned.rig import DeviceRig
from services.gpu_worker.tuned.search import Found, Refused, Search
from services.gpu_worker.tuned.store import Store
from shared.chassis import telemetry
from shared.chassis.settings import load
from shared.contracts.errors import DeviceFailed, SuiteError

NAME = "gpu-tune"
BUDGET = 300.0  # [s]
MARK = "tune: "  # before every line of progress


def tune(settings: GpuSettings, operators: Sequence[str], budget: float) -> dict[str, object]:
    """Search for every shape class of the operators within the budget and store what was found.

    Args:
        settings: which device, which cache.
        operators: names; none: all that have something to tune.
        budget: [s] after which no further configuration is begun.

    Returns:
        What was measured, and the stored document as text.

    Raises:
        InvalidUsage: an operator is unknown or has nothing to tune.
        TuneRunning, NotStored: see `Store.locked`.
        DeviceFailed: there is no device, or it does not run the start values.
    """
    end = perf_counter() + budget
    wanted = plan.problems(operators)
    kept = Store(settings.cache)
    with kept.locked():
        backend = open_backend(settings.opencl_platform, settings.cache, settings.limits)
        start, device = backend.choices.start.tuning, backend.device
        key = store.key_of(device.name, device.driver, start)
        known = kept.read(key, start)
        made = Plan(wanted, known.entries if known else (), end)
        document = Document(entry.FORMAT, key, device.name, device.driver, made.known)
        rows: list[Measured] = []
        for problem in wanted:
            rows.append(_measure(backend, made, problem))
            document = replace(document, entries=plan.merged(made.known, rows))
            kept.write(document)  # a driver that aborts costs what comes after
    return {
        "device": device.name,
        "driver": device.driver,
        "class": backend.name,
        "key": key,
        "path": str(kept.path(key)),
        "results": [row.told() for row in rows],
        "document": entry.encode(document).decode(),
    }


def _measure(backend: OpenCLBackend, made: Plan, problem: Problem) -> Measured:
    share = made.share(problem, perf_counter())
    if share is None:
        return Measured(problem, skipped="the budget was spent")
    until = perf_counter() + share
    start = backend.choices.start.tuning
    _say(f"{made.place(problem)} {problem.operator} {problem.name}")

    def allowed(values: space.Values) -> str | None:
        return space.refuses(problem.operator, start, values)

    try:
        with closing(DeviceRig(backend, problem)) as rig:
            fields = space.of(problem.operator).fields
            search = Search(fields, start, allowed, rig, lambda: perf_counter() > until)
            found = search.run(made.values(problem))
    except (Refused, DeviceFailed) as error:
        return Measured(problem, skipped=str(error))
    _say(f"    {_words(found)}")
    return Measured(problem, found)


def _words(found: Found) -> str:
    if not found.values:
        return f"start values stand, {found.seconds * 1e3:.4f} ms"
    chosen = ", ".join(f"{name} {value}" for name, value in found.values.items())
    times = f"{found.start_seconds * 1e3:.4f} -> {found.seconds * 1e3:.4f} ms"
    return f"{times}, x{found.gain:.2f} with {chosen}"


def _say(text: str) -> None:
    sys.stderr.write(f"{MARK}{text}\n")  # drivers write there too
    sys.stderr.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Tune as the arguments say; 0, or 1 after an error was told."""
    parser = argparse.ArgumentParser(prog="services.gpu_worker.tune")
    parser.add_argument("--operator", action="append", default=[])
    parser.add_argument("--budget-s", type=float, default=BUDGET)
    given = parser.parse_args(arguments)
    settings = load(GpuSettings).of(NAME)
    telemetry.configure(NAME, level=settings.log_level)
    try:
        answer = tune(settings, given.operator, given.budget_s)
    except SuiteError as error:
        answer = {"error": {"code": error.code, "message": str(error), "fix": error.fix}}
    sys.stdout.write(json.dumps(answer) + "\n")
    return int("error" in answer)


if __name__ == "__main__":
    sys.exit(main())
