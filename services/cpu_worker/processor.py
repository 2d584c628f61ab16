"""What this machine's processor and its libraries are called; part of every measured profile."""

import platform
from pathlib import Path

import numpy as np
import scipy

from services.cpu_worker.engine import Engine

CPUINFO = Path("/proc/cpuinfo")


def device() -> str:
    """The processor's model as the system names it, else its architecture."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        lines = []
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def driver(engine: Engine | None = None) -> str:
    """The libraries that do the arithmetic, and why compiled kernels do not where they do not."""
    plain = f"numpy {np.__version__}, scipy {scipy.__version__}"
    return f"{plain}, {engine.libraries}" if engine else plain
