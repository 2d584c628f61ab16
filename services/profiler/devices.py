"""Measure the device of a class and keep its profile."""

import time
from collections.abc import Awaitable, Callable

import numpy as np
import structlog

from services.profiler import experiments, fit, steal
from services.profiler.experiments import Experiment
from services.profiler.workbench import Workbench
from shared.contracts.errors import DeviceFailed
from shared.contracts.subjects import Bucket
from shared.contracts.v1.jobs import JobFinished
from shared.contracts.v1.workers import DeviceProfile

TRIES = 3
SEED = 580  # the tensors are the same every time
Tell = Callable[[float, str], Awaitable[None]]
log = structlog.get_logger()


async def measure(workbench: Workbench, worker_class: str, tell: Tell) -> DeviceProfile:
    """Profile a class and store it as `device.<class>`; the try with the least steal counts.

    Raises:
        DeviceFailed: the measuring jobs returned no times.
        SuiteError: a measuring job failed.
    """
    plan = experiments.plan(np.random.default_rng(SEED))
    best: DeviceProfile | None = None
    for number in range(1, TRIES + 1):
        found = await _once(workbench, worker_class, plan, tell)
        best = found if best is None or found.steal < best.steal else best
        if best.steal <= steal.MOST:
            break
        await tell(0.0, f"steal {found.steal:.0%} in try {number} of {TRIES}")
    if best is None:  # TRIES is positive
        raise DeviceFailed(f"class {worker_class} was not measured")
    await workbench.bus.put(Bucket.ROUTES, f"device.{worker_class}", best.encode())
    log.info("device.profiled", worker_class=worker_class, device=best.device, steal=best.steal)
    return best


async def stored(workbench: Workbench, worker_class: str) -> DeviceProfile | None:
    """The profile of a class, if it has one."""
    entry = await workbench.bus.get(Bucket.ROUTES, f"device.{worker_class}")
    return DeviceProfile.decode(entry.value) if entry and entry.value else None


async def _once(
    workbench: Workbench, worker_class: str, plan: tuple[Experiment, ...], tell: Tell
) -> DeviceProfile:
    results: dict[str, tuple[Experiment, JobFinished]] = {}
    before = steal.read()
    for done, each in enumerate(plan):
        await tell(done / len(plan), f"{each.name} on {worker_class}")
        record = await workbench.run(worker_class, each.body, each.tensors)
        results[each.name] = each, record
    lost = steal.share(before, steal.read())
    try:
        return fit.profile(results, steal=lost, now=time.time())
    except ValueError as error:
        raise DeviceFailed(f"class {worker_class} sent no usable times: {error}") from None
