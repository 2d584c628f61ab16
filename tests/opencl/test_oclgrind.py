"""No kernel races, reads or writes out of bounds, or asks for more than the card has."""

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("under_oclgrind.py")
SECONDS = 300.0
TUNINGS = ("card", "processor")  # of under_oclgrind.py; side by side, as they take a minute each


@pytest.mark.timeout(SECONDS + 30)
def test_every_kernel_is_clean_under_oclgrind(tmp_path: Path) -> None:
    if shutil.which("oclgrind") is None:
        pytest.skip("oclgrind is not installed: races and bounds of the kernels are not checked")

    with ThreadPoolExecutor() as pool:
        runs = pool.map(lambda which: simulate(which, tmp_path / f"{which}.log"), TUNINGS)
        ended = dict(zip(TUNINGS, runs, strict=True))

    for which, run in ended.items():
        log = tmp_path / f"{which}.log"
        findings = log.read_text() if log.exists() else ""
        assert findings == ""  # oclgrind itself ends with 0 when it found something
        assert run.returncode == 0, run.stderr[-3000:]
        assert re.fullmatch(r"[1-9]\d{2,} calls\n", run.stdout)


def simulate(which: str, log: Path) -> subprocess.CompletedProcess[str]:
    """Run the script with one tuning; findings go to the log."""
    options = ["--data-races", "--max-wgsize", "256", "--local-mem-size", "32768"]
    command = ["oclgrind", *options, "--max-errors", "20", "--log", str(log)]
    return subprocess.run(
        [*command, sys.executable, "-W", "ignore", str(SCRIPT), which],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(log.parent)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
