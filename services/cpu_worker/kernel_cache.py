"""Where compiled kernels are kept, and when they have to be compiled again.

numba looks at the file of a function, not at what it calls; so the folder is named by the sources
of all kernels and where they lie, the libraries and the processor. The compiling is done in
processes of their own: a compiler that aborts costs that process alone, and the worker goes on with
scipy.
"""

import atexit
import fcntl
import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FAMILIES = ("sparse", "integer", "spiking")  # packages of kernels; none calls another's
LIBRARIES = ("numba", "llvmlite", "numpy")
CPUINFO = Path("/proc/cpuinfo")
OPENMP = "omp"  # numba's other layers are slower to start, and one kills a process of two callers
PATIENCE = 600.0  # [s] for compiling everything on a slow machine


class CompilingFailed(RuntimeError):
    """The kernels could not be compiled, or gave wrong results when they were tried."""


def folder(cache: Path) -> Path:
    """The folder of this machine's kernels, made if need be.

    A cache that cannot be written to (an image, a read-only system) is copied to a private
    folder that goes when the process ends.

    Raises:
        PackageNotFoundError: a library is not installed.
        OSError: there is no room at all.
    """
    own = cache / "kernels" / _digest()
    try:
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=own):
            return own
    except OSError:
        private = Path(tempfile.mkdtemp(prefix="ellesmere-kernels-"))
        atexit.register(shutil.rmtree, private, ignore_errors=True)
        if own.is_dir():
            shutil.copytree(own, private, dirs_exist_ok=True)
        return private


def use(kept: Path | str) -> None:
    """Have kernels that are imported from now on compiled into a folder, or brought from there.

    Raises:
        ImportError: numba is absent or does not fit numpy.
    """
    import numba  # late: it may be absent

    numba.config.CACHE_DIR = str(kept)
    numba.config.THREADING_LAYER = OPENMP


def ensure(kept: Path, threads: int) -> None:
    """Return when the kernels for so many threads have been compiled and tried once.

    Workers that start together wait for the one that compiles.

    Raises:
        CompilingFailed: with the last line that the compiling process wrote.
    """
    stamp = kept / f"tried-{'one' if threads == 1 else 'several'}"
    if stamp.exists():
        return
    with _locked(kept / "lock"):
        if stamp.exists():
            return
        _compile(kept, threads)
        stamp.touch()


def _compile(kept: Path, threads: int) -> None:
    """All families side by side; the first that fails ends the others."""
    deadline = time.monotonic() + PATIENCE
    with ExitStack() as running:
        for process in [running.enter_context(_compiler(kept, threads, of)) for of in FAMILIES]:
            _require(process, deadline - time.monotonic())


@contextmanager
def _compiler(kept: Path, threads: int, family: str) -> Iterator[subprocess.Popen[str]]:
    """The process that compiles a family; it does not outlive the block."""
    compiler = "services.cpu_worker.compiling"
    command = [sys.executable, "-m", compiler, str(kept), str(threads), family]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _require(process: subprocess.Popen[str], seconds: float) -> None:
    try:
        _, said = process.communicate(timeout=max(seconds, 0.0))
    except subprocess.TimeoutExpired:
        raise CompilingFailed(f"compiling took over {PATIENCE:g} s") from None
    if process.returncode:
        last = (said.strip().splitlines() or ["nothing was said"])[-1]
        raise CompilingFailed(f"compiling ended with code {process.returncode}: {last}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _digest() -> str:
    """16 hex digits that change with the sources, their place, the libraries, Python and the
    processor."""
    found = hashlib.sha256(sys.version.encode())
    for library in LIBRARIES:
        found.update(f"{library} {metadata.version(library)}\n".encode())
    found.update(str(HERE).encode())  # numba's files are named by where their source lies
    for path in sorted(path for part in ("simd", *FAMILIES) for path in (HERE / part).glob("*.py")):
        found.update(path.name.encode() + path.read_bytes())
    found.update(_processor().encode())
    return found.hexdigest()[:16]


def _processor() -> str:
    """What the processor can do: its flags, or at least its architecture."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        lines = []
    flags = (line for line in lines if line.startswith(("flags", "Features")))
    return f"{platform.machine()} {platform.processor()} {next(flags, '')}"
