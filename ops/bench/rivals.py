"""Virtual environments of the rivals: each comparison has one of its own, with pinned packages."""

import subprocess
import sys
from pathlib import Path

from ops.bench.turns import ROOT

FOLDER = ROOT / ".bench"


def environment(name: str, packages: tuple[str, ...]) -> Path:
    """A folder with `packages` installed, made when it is not there; returns its programs.

    Args:
        name: of the folder.
        packages: name==version each.
    """
    made = FOLDER / name
    ready = made / "ready"
    if not ready.exists():
        subprocess.run([sys.executable, "-m", "venv", made], check=True)
        subprocess.run([made / "bin/pip", "install", "-q", *packages], check=True)
        ready.touch()
    return made / "bin"
