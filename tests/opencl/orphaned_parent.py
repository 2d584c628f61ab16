"""A parent to be killed: opens a device of no kind, notes its child's pid, waits; for a test.

python -m tests.opencl.orphaned_parent CACHE [hang]
"""

import sys
import threading
from pathlib import Path

from tests.opencl.isolation_house import opened


def main(cache: Path, *, hang: bool) -> None:
    """Note the pid in the cache folder once the child is as busy as was asked."""
    with opened(cache, "sleeping" if hang else "reference", device_patience=600.0) as backend:
        if hang:
            threading.Thread(target=backend.synchronize, daemon=True).start()
        (cache / "partial").write_text(str(backend.keeper.pid))
        (cache / "partial").rename(cache / "pid")
        threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), hang="hang" in sys.argv[2:])
