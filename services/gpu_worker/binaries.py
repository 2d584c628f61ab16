"""Compiled programs on disk: one file per key, checked when read, dropped when damaged."""

from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from services.gpu_worker import whole

MAGIC = b"ELCLBIN1"
DIGEST_BYTES = 32


class BinaryCache:
    """Device binaries named by a key; a folder that cannot be written only costs time.

    A file is MAGIC, the sha256 of the binary, the binary.
    """

    def __init__(self, folder: Path | None) -> None:
        """`folder` is made when the first binary is stored; None keeps nothing."""
        self.folder = folder

    def path(self, key: str) -> Path | None:
        """Where the binary of a key lives, whether it is there or not."""
        return None if self.folder is None else self.folder / f"{key}.clbin"

    def get(self, key: str) -> bytes | None:
        """The stored binary, or None; a damaged file is removed."""
        path = self.path(key)
        if path is None:
            return None
        try:
            stored = path.read_bytes()
        except OSError:
            return None
        start = len(MAGIC) + DIGEST_BYTES
        binary = stored[start:]
        if binary and stored[:start] == MAGIC + sha256(binary).digest():
            return binary
        self.drop(key)
        return None

    def put(self, key: str, binary: bytes) -> None:
        """Store a binary; readers see the whole file or none."""
        path = self.path(key)
        if path is None:
            return
        with suppress(OSError):  # no room or no right to write: the next start compiles again
            path.parent.mkdir(parents=True, exist_ok=True)
            whole.write(path, MAGIC + sha256(binary).digest() + binary)

    def drop(self, key: str) -> None:
        """Forget a key, for instance because the driver refuses its binary."""
        path = self.path(key)
        if path is not None:
            with suppress(OSError):
                path.unlink()
