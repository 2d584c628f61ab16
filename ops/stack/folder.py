"""The data folder of a stack: one stack at a time, or two brokers would write the same files."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.contracts.errors import FolderInUse


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Create the folder and hold its lock; the kernel frees it however this process ends.

    Raises:
        FolderInUse: another stack holds it.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUse(f"another stack keeps its data in {folder}") from None
        yield folder
