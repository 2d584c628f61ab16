"""Kernels to assembly without a card: for its instruction set, and for NVIDIA's."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count, sched_getaffinity
from pathlib import Path
from tempfile import TemporaryDirectory

import kernels
from ops.bench.silicon.configuration import Configuration
from services.gpu_worker.programs import OPTIONS

COMPILER = "clang-19"
LIBRARIES = Path("/usr/lib/clc")  # OpenCL's own functions, by device
INSTALL = "apt-get install clang-19 libclc-19"
SECONDS = 60.0  # for one kernel
WARNINGS = ("-Wall", "-Wextra", "-Wdouble-promotion", "-Wno-linker-warnings")
SHARED = (
    "-Wno-unused-function",
    "-Wno-unused-command-line-argument",
)  # what is shared serves others
EXTENSIONS = "-cl-ext=-cl_khr_fp16"  # arithmetic on half is not everywhere; storing it needs none


class CompilerMissing(Exception):
    """The offline compiler or its library is not installed; the message says how to get it."""


class DoesNotCompile(Exception):
    """A kernel is refused, or warned about; the message ends with the compiler's own words."""


@dataclass(frozen=True, slots=True)
class Target:
    """An instruction set to compile for."""

    name: str
    triple: str
    chip: tuple[str, ...]  # options that choose it
    library: str

    @property
    def options(self) -> tuple[str, ...]:
        """Arguments of the compiler."""
        linked = ("-Xclang", "-mlink-builtin-bitcode", "-Xclang", str(LIBRARIES / self.library))
        return ("-target", self.triple, *self.chip, "-nogpulib", *linked)


GFX803 = Target("gfx803", "amdgcn-amd-amdhsa", ("-mcpu=gfx803",), "polaris10-amdgcn-mesa-mesa3d.bc")
PTX = Target(
    "sm_80",
    "nvptx64-nvidia-nvcl",
    ("-Xclang", "-target-cpu", "-Xclang", "sm_80"),
    "nvptx64--nvidiacl.bc",
)


def find() -> str:
    """Path of the compiler.

    Raises:
        CompilerMissing: it or the library of OpenCL functions is not there.
    """
    found = shutil.which(COMPILER)
    missing = [t.library for t in (GFX803, PTX) if not (LIBRARIES / t.library).exists()]
    if found is None or missing:
        raise CompilerMissing(f"no {COMPILER} with {', '.join(missing) or 'libclc'}: {INSTALL}")
    return found


def version() -> str:
    """The compiler's release, like 19.1.7; raises like `find`."""
    said = subprocess.run([find(), "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"version (\d+\.\d+\.\d+)", said.stdout)
    return found[1] if found else said.stdout.splitlines()[0]


def assemble(configuration: Configuration, target: Target) -> str:
    """The assembly of one kernel file with a configuration's defines.

    Raises:
        CompilerMissing: see `find`.
        DoesNotCompile: the compiler refuses it or has something to say.
    """
    with TemporaryDirectory() as folder:
        source, made = Path(folder, f"{configuration.operator}.cl"), Path(folder, "out.s")
        source.write_text(kernels.source(configuration.operator))
        command = [find(), "-x", "cl", *OPTIONS, "-O3", *target.options, *WARNINGS, *SHARED]
        command += ["-Xclang", EXTENSIONS, "-Xclang", "-finclude-default-header"]
        command += [f"-D{key}={value}" for key, value in configuration.defines.items()]
        command += ["-S", str(source), "-o", str(made)]
        ended = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=SECONDS
        )
        if ended.returncode or "warning:" in ended.stderr:
            said = f"{configuration.label} for {target.name}:\n{ended.stderr[-3000:]}"
            raise DoesNotCompile(said)
        return made.read_text()


def assemble_all(
    configurations: Iterable[Configuration], target: Target
) -> dict[str, str | DoesNotCompile]:
    """Assembly by label, or why there is none; as many at a time as there are processors.

    Raises:
        CompilerMissing: see `find`.
    """
    find()
    wanted = list(configurations)

    def outcome(configuration: Configuration) -> str | DoesNotCompile:
        try:
            return assemble(configuration, target)
        except DoesNotCompile as error:
            return error

    with ThreadPoolExecutor(len(sched_getaffinity(0)) or cpu_count()) as pool:
        made = pool.map(outcome, wanted)
        return {entry.label: text for entry, text in zip(wanted, made, strict=True)}
