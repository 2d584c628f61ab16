"""The one OpenCL device of this process: platform by name, context, queues, limits, identity."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import putenv
from pathlib import Path

import pyopencl as cl

from services.gpu_worker import linker
from services.gpu_worker.limits import Limits
from shared.contracts.errors import DeviceFailed

POCL = "Portable Computing Language"
CLASS_BY_NAME = (  # pattern over platform and device name -> worker class
    (re.compile(r"portable computing language|pocl", re.I), "gpu-pocl"),
    (re.compile(r"ellesmere|polaris|gfx803|RX (4[678]|5[6789])0", re.I), "gpu-gfx803"),
    (re.compile(r"nvidia", re.I), "gpu-nvidia"),
)
TROUBLE = (cl.Error, MemoryError)  # what pyopencl raises; LogicError and RuntimeError are Errors


class NoDevice(DeviceFailed):
    """No OpenCL device fits the wish; waiting does not change that."""

    retryable = False
    fix = "set ELLESMERE_OPENCL_PLATFORM to a part of a listed platform's name, or install one"


@dataclass(slots=True, eq=False)
class Trail:
    """The last command of the queue that computes; with it everything before it has finished."""

    last: cl.Event | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Device:
    """An open device. Context and queues belong to the thread that runs operators.

    Each queue is in order by itself. Between the two only events order anything: who enqueues
    work on `queue` leaves its event in `trail`, and `residency` sees to the rest.
    """

    context: cl.Context
    queue: cl.CommandQueue  # computes; in order, with profiling
    transfer: cl.CommandQueue  # copies from and to the host; the same queue where there is but one
    trail: Trail
    handle: cl.Device
    name: str
    driver: str
    platform: str
    limits: Limits
    doubles: bool  # whether it computes with 64-bit floats
    unified: bool  # whether its memory is the host's

    @property
    def worker_class(self) -> str:
        """The class of workers that can stand in for one another."""
        return worker_class(self.platform, self.name)

    def limited(self, limits: Limits) -> "Device":
        """The same device with tighter limits."""
        return replace(self, limits=self.limits.within(limits))

    def finish(self) -> None:
        """Wait for everything enqueued; raises DeviceFailed when some of it broke."""
        with trouble(f"waiting for {self.name}"):
            self.transfer.flush()
            self.queue.flush()
            self.transfer.finish()
            self.queue.finish()


def open_device(
    platform: str | None = None, cache: Path | None = None, limits: Limits | None = None
) -> Device:
    """Open the first device of a platform.

    Args:
        platform: part of the platform's name, any case; None takes the first platform with a
            graphics card, else PoCL.
        cache: folder where PoCL may keep its intermediate files; None leaves it to PoCL.
        limits: bounds to enforce besides the device's own.

    Raises:
        NoDevice: there is no such platform; the message lists those that exist.
        LinkerMissing: the device is PoCL, which could not link a kernel here.
        DeviceFailed: the driver refuses to open the device.
    """
    _prepare_pocl(cache)
    found = _platform(platform)
    if found.name == POCL:
        linker.check()
    with trouble(f"opening {found.name}"):
        handle = _best(found)
        context = cl.Context([handle])
        queue = _queue(context)
        return _describe(found, handle, queue, limits or Limits())


def worker_class(platform: str, device: str) -> str:
    """`gpu-pocl`, `gpu-gfx803`, `gpu-nvidia`, else `gpu-` and the device's name as a slug."""
    for pattern, name in CLASS_BY_NAME:
        if pattern.search(f"{platform} {device}"):
            return name
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    return f"gpu-{slug[:40].strip('-') or 'unknown'}"


@contextmanager
def trouble(doing: str) -> Iterator[None]:
    """Turn a driver's exception into DeviceFailed that says what was being done."""
    try:
        yield
    except TROUBLE as error:
        raise DeviceFailed(f"{doing}: {_brief(error)}") from error


def _describe(
    platform: cl.Platform, handle: cl.Device, queue: cl.CommandQueue, limits: Limits
) -> Device:
    own = Limits(
        group=handle.max_work_group_size,
        local_bytes=handle.local_mem_size,
        buffer_bytes=handle.max_mem_alloc_size,
        memory_bytes=handle.global_mem_size,
    )
    return Device(
        context=queue.context,
        queue=queue,
        transfer=_second(queue),
        trail=Trail(),
        handle=handle,
        name=" ".join(handle.name.split()),
        driver=f"{platform.name} {handle.driver_version}",
        platform=platform.name,
        limits=limits.within(own),
        doubles=bool(handle.double_fp_config),
        unified=bool(handle.host_unified_memory),
    )


def _queue(context: cl.Context) -> cl.CommandQueue:
    return cl.CommandQueue(context, properties=cl.command_queue_properties.PROFILING_ENABLE)


def _second(queue: cl.CommandQueue) -> cl.CommandQueue:
    """Another queue of the same context; the same one when the driver gives no more."""
    try:
        return _queue(queue.context)
    except TROUBLE:
        return queue


def platforms() -> tuple[str, ...]:
    """Names of the platforms that the loader finds; may be none."""
    return tuple(platform.name for platform in _found())


def _found() -> list[cl.Platform]:
    """The loader raises when there is no platform at all."""
    try:
        return list(cl.get_platforms())
    except cl.Error:
        return []


def _platform(wish: str | None) -> cl.Platform:
    """The platform to use; raises NoDevice."""
    found = _found()
    if wish is None:
        cards = (p for p in found if _devices(p, cl.device_type.GPU))
        pocl = (p for p in found if p.name == POCL and _devices(p))
        fitting = next(cards, None) or next(pocl, None)
    else:
        fitting = next((p for p in found if wish.lower() in p.name.lower()), None)
    if fitting is None or not _devices(fitting):
        names = ", ".join(repr(platform.name) for platform in found) or "none"
        raise NoDevice(f"no device on a platform named like {wish or 'any'!r}; there are: {names}")
    return fitting


def _devices(platform: cl.Platform, kind: cl.device_type = cl.device_type.ALL) -> list[cl.Device]:
    """The platform's devices of a kind; some drivers raise when there is none."""
    try:
        return list(platform.get_devices(kind))
    except cl.Error:
        return []


def _best(platform: cl.Platform) -> cl.Device:
    return (_devices(platform, cl.device_type.GPU) or _devices(platform))[0]


def _prepare_pocl(cache: Path | None) -> None:
    """Give PoCL a folder of ours before it starts.

    PoCL reads the C environment when its platform is first listed, and needs to write even when
    our own program cache answers.
    """
    if cache is None:
        return
    folder = cache / "pocl"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only place: a folder of this process will do
        folder = Path(tempfile.mkdtemp(prefix="ellesmere-pocl-"))
    putenv("POCL_CACHE_DIR", str(folder))


def _brief(error: BaseException) -> str:
    """First line of a driver's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
