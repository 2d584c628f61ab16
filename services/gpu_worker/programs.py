"""Kernels ready to launch: source and defines in, a checked OpenCL kernel out, cached on disk."""

import warnings
from collections.abc import Mapping
from hashlib import sha256

import numpy as np
import pyopencl as cl

import kernels
from services.gpu_worker.binaries import BinaryCache
from services.gpu_worker.device import Device, trouble
from shared.contracts.errors import DeviceFailed

# Denormals are flushed because the card's mad would take two instructions otherwise.
OPTIONS = ("-cl-std=CL1.2", "-cl-mad-enable", "-cl-denorms-are-zero")
MOST_ROWS = 65535  # groups along the second dimension of a launch: what NVIDIA takes
LOG_LINES = 20  # of a failed build, from its end
Defines = Mapping[str, int | str]
Argument = int | float | cl.Buffer | np.ndarray | None


class BuildFailed(DeviceFailed):
    """The driver's compiler refuses a kernel; the message ends with its own words."""

    retryable = False
    fix = "report the kernel, the device and the driver named in the message"


class Kernel:
    """One kernel with its defines, found to be within the limits."""

    def __init__(self, device: Device, name: str, kernel: cl.Kernel, group: int) -> None:
        self.name = name
        self.group = group  # work-items of one group; every launch is made of whole groups
        self._device = device
        self._kernel = kernel
        self._typed = False

    def launch(self, items: int, *arguments: Argument, rows: int = 1) -> None:
        """Enqueue at least `items` × `rows` work-items; does nothing when either is zero.

        Args:
            items: work-items along the first dimension, rounded up to whole groups.
            arguments: whole numbers become int, others float; None is a null pointer.
            rows: groups along the second dimension; more than a device takes at once are enqueued
                in several launches, each with the rest as its offset, so a kernel asks for
                get_global_id(1), never for get_group_id(1).

        Raises:
            DeviceFailed: the driver refuses the launch.
        """
        if items == 0 or rows == 0:
            return
        if not self._typed:  # lets pyopencl generate its fast path for these types
            self._kernel.set_scalar_arg_dtypes([_scalar_type(value) for value in arguments])
            self._typed = True
        whole = -(-items // self.group) * self.group
        with trouble(f"launching {self.name} on {self._device.name}"):
            for first in range(0, rows, MOST_ROWS):
                sizes = (whole, min(rows - first, MOST_ROWS)), (self.group, 1)
                offset = (0, first) if first else None
                self._device.trail.last = self._kernel(
                    self._device.queue, *sizes, *arguments, global_offset=offset
                )


class Programs:
    """Builds each kernel once per set of defines."""

    def __init__(self, device: Device, cache: BinaryCache) -> None:
        self.built_from_source = 0
        self.loaded_from_cache = 0
        self._device = device
        self._cache = cache
        self._kernels: dict[tuple[str, str, tuple[tuple[str, int | str], ...]], Kernel] = {}

    def kernel(self, operator: str, defines: Defines, entry: str | None = None) -> Kernel:
        """The kernel of an operator's file.

        Args:
            operator: name of the file.
            defines: tunables to override.
            entry: the kernel function; None is the one called like the operator.

        Raises:
            BuildFailed: it does not compile.
            LimitExceeded: the card could not launch it.
        """
        name = entry or operator
        key = (operator, name, tuple(sorted(defines.items())))
        if key not in self._kernels:
            self._kernels[key] = self._make(operator, name, defines)
        return self._kernels[key]

    def key(self, operator: str, options: tuple[str, ...]) -> str:
        """Name of a binary: everything that could change it goes in."""
        device = self._device
        facts = (device.platform, device.name, device.driver, kernels.digest(operator), *options)
        return sha256("\0".join(facts).encode()).hexdigest()

    def _make(self, operator: str, name: str, defines: Defines) -> Kernel:
        options = (*OPTIONS, *(f"-D{key}={value}" for key, value in sorted(defines.items())))
        program = self._program(operator, options)
        with trouble(f"taking kernel {name} out of {operator}"):
            kernel = cl.Kernel(program, name)
            facts, device = cl.kernel_work_group_info, self._device.handle
            declared = kernel.get_work_group_info(facts.COMPILE_WORK_GROUP_SIZE, device)
            local_bytes = kernel.get_work_group_info(facts.LOCAL_MEM_SIZE, device)
        group = int(np.prod(declared))
        self._device.limits.check_kernel(name, group=group, local_bytes=local_bytes)
        return Kernel(self._device, name, kernel, group)

    def _program(self, operator: str, options: tuple[str, ...]) -> cl.Program:
        key = self.key(operator, options)
        binary = self._cache.get(key)
        if binary is not None:
            try:
                program = _build(self._from_binary(binary), options)
            except cl.Error:  # not this driver's after all
                self._cache.drop(key)
            else:
                self.loaded_from_cache += 1
                return program
        return self._compile(operator, options, key)

    def _from_binary(self, binary: bytes) -> cl.Program:
        return cl.Program(self._device.context, [self._device.handle], [binary])

    def _compile(self, operator: str, options: tuple[str, ...], key: str) -> cl.Program:
        # Wrapping the raw program keeps pyopencl's own cache out.
        raw = cl._cl._Program(self._device.context, kernels.source(operator))
        try:
            program = _build(cl.Program(raw), options)
        except cl.Error as error:
            tail = "\n".join(str(error).strip().splitlines()[-LOG_LINES:])
            device = self._device
            message = f"{operator} with {' '.join(options)} on {device.name} ({device.driver})"
            raise BuildFailed(f"{message}:\n{tail}") from error
        self.built_from_source += 1
        with trouble(f"reading the binary of {operator}"):
            self._cache.put(key, program.binaries[0])
        return program


def _build(program: cl.Program, options: tuple[str, ...]) -> cl.Program:
    """Build; what the compiler says about a success is of no interest."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cl.CompilerWarning)
        program.build(options=list(options))
    return program


def _scalar_type(value: Argument) -> type[np.generic] | None:
    if isinstance(value, int):
        return np.int32
    return np.float32 if isinstance(value, float) else None
