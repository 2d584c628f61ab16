"""Every kernel on a real card, in one command: ``python -m ops.bench.card``.

Finds the vendor's OpenCL library, holds every operator of the catalogue against its reference on
the card, then measures `bench kernels` there beside what the card reaches at most: the bandwidth of
a copy and the rate of multiply-adds. Writes ops/bench/results/kernels-<class>.json. Ends with 3
when no card's OpenCL is found, with 1 when a kernel answers wrongly.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from ops.bench import kernels, tables
from ops.bench.turns import ROOT
from services.gpu_worker import device as devices
from services.gpu_worker import selftest
from services.gpu_worker.backend import open_backend
from shared.contracts.errors import DeviceFailed

LIBRARIES = ("libnvidia-opencl.so*", "libamdocl64.so*", "libRusticlOpenCL.so*", "libMesaOpenCL.so*")
FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local", "/opt")
NO_CARD = 3


def main(console: Console) -> int:
    """Find, prove, measure, show; returns the exit code."""
    if "OCL_ICD_VENDORS" not in os.environ:
        return _again(console)
    try:
        backend = open_backend()
        checked = selftest.check(backend)
    except DeviceFailed as error:
        console.print(f"{error}\nfix: {error.fix}", style="red")
        return 1
    device = backend.device
    console.print(f"{device.name} ({device.driver}): {checked} operators answer like the reference")
    if device.worker_class == devices.worker_class(devices.POCL, ""):
        console.print("this is PoCL, not a card; its figures come from `ellesmere bench kernels`")
        return NO_CARD
    results = kernels.RESULTS / f"kernels-{device.worker_class.removeprefix('gpu-')}.json"
    icd = Path(os.environ["OCL_ICD_VENDORS"])
    found = kernels.run(results, console, platform=device.platform, icd=icd)
    sys.stdout.write(tables.kernels(found) + "\n")
    return 0


def _again(console: Console) -> int:
    """Run in a process whose loader sees one driver alone: the first card's that is installed."""
    libraries = [path for folder in FOLDERS for path in _libraries(Path(folder))]
    if not libraries:
        console.print(f"no OpenCL driver of a card in {', '.join(FOLDERS)}", style="red")
        return NO_CARD
    with tempfile.TemporaryDirectory() as folder:
        icd = Path(folder) / "card.icd"
        icd.write_text(f"{libraries[0]}\n")
        console.print(f"driver: {libraries[0]}")
        paths = [str(libraries[0].parent), os.environ.get("LD_LIBRARY_PATH", "")]
        seen = {"OCL_ICD_VENDORS": str(icd), "LD_LIBRARY_PATH": ":".join(filter(None, paths))}
        command = [sys.executable, "-m", "ops.bench.card"]
        return subprocess.run(command, cwd=ROOT, env=os.environ | seen, check=False).returncode


def _libraries(folder: Path) -> list[Path]:
    return sorted(path for name in LIBRARIES for path in folder.rglob(name) if path.is_file())


if __name__ == "__main__":
    sys.exit(main(Console(stderr=True)))
