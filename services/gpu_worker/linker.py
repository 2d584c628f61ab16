"""What PoCL needs to finish a kernel: it calls `ld` and aborts the process when that fails."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from shared.contracts.errors import DeviceFailed

GCC_FOLDERS = (Path("/usr/lib/gcc"), Path("/usr/lib64/gcc"), Path("/usr/local/lib/gcc"))
TRIAL_SECONDS = 20.0


class LinkerMissing(DeviceFailed):
    """PoCL could not link a kernel here; `package` is the Debian package that is not installed."""

    retryable = False

    def __init__(self, package: str, reason: str) -> None:
        self.package = package
        self.fix = f"apt-get install {package}"  # type: ignore[misc]  # known only now
        super().__init__(f"PoCL cannot link kernels: {reason}; install {package}")


def check(linker: str | None = None, gcc_folders: Sequence[Path] = GCC_FOLDERS) -> None:
    """Make sure that a link like PoCL's works, by looking at files and by one trial.

    Args:
        linker: path of `ld`; None looks it up on the search path.
        gcc_folders: where gcc keeps `<triple>/<version>/libgcc.a`.

    Raises:
        LinkerMissing: ld, libgcc or the C library's development files are not installed.
    """
    found = linker or shutil.which("ld")
    if found is None or not Path(found).exists():
        raise LinkerMissing("binutils", "there is no ld")
    libgcc = _newest_libgcc(gcc_folders)
    if libgcc is None:
        raise LinkerMissing("libgcc-12-dev", "there is no libgcc.a (gcc brings it too)")
    complaint = _trial(found, libgcc)
    if complaint is not None:
        package = "libgcc-12-dev" if "lgcc" in complaint else "libc6-dev"
        raise LinkerMissing(package, complaint)


def _newest_libgcc(gcc_folders: Sequence[Path]) -> Path | None:
    """The folder of the libgcc.a of the highest version, as clang's driver chooses it."""
    found = [file.parent for folder in gcc_folders for file in folder.glob("*/*/libgcc.a")]
    return max(found, key=_version, default=None)


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.name.split(".") if part.isdigit())


def _trial(linker: str, libgcc: Path) -> str | None:
    """Link an empty library like PoCL does; the linker's complaint, None when it works."""
    with tempfile.TemporaryDirectory(prefix="ellesmere-ld-") as folder:
        output = Path(folder) / "trial.so"
        libraries = ["-lgcc", "--as-needed", "-lgcc_s", "--no-as-needed", "-lc"]
        command = [linker, "-shared", "-o", str(output), f"-L{libgcc}", *libraries]
        try:
            ended = subprocess.run(
                command, capture_output=True, text=True, timeout=TRIAL_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    return None if ended.returncode == 0 else (ended.stderr.strip() or "ld failed without a word")
