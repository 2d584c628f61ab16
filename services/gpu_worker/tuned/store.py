"""Tuned values on disk, and the key under which they are valid: here and in the broker's bucket."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import structlog

import kernels
from services.gpu_worker import whole
from services.gpu_worker.tuned import entry
from services.gpu_worker.tuned.entry import Document, Unreadable
from services.gpu_worker.tuning import Tuning
from shared.contracts.errors import DeviceBusy, InvalidFile

FOLDER = "tuned"  # below the cache
log = structlog.get_logger()


class TuneRunning(DeviceBusy):
    """Another process tunes with the same cache; two at once would disturb each other's times."""

    fix = "wait until it ends, or give this one another ELLESMERE_CACHE"


class NotStored(InvalidFile):
    """What was found by tuning cannot be written."""

    fix = "point ELLESMERE_CACHE at a folder that can be written"


def key_of(device: str, driver: str, start: Tuning) -> str:
    """What tuned values depend on, as hex: device, driver, every kernel's source, and the start
    values that they were measured against. A change of any gives another key."""
    sources = (kernels.digest(name) for name in kernels.NAMES)
    return sha256("\0".join((device, driver, *sources, repr(start))).encode()).hexdigest()


class Store:
    """The documents of a cache, one file per key."""

    def __init__(self, cache: Path) -> None:
        self._folder = cache / FOLDER

    def path(self, key: str) -> Path:
        """Where the document of a key lies, whether it is there or not."""
        return self._folder / f"{key}.json"

    def read(self, key: str, start: Tuning) -> Document | None:
        """The document of a key; one that is damaged is as if it were not there, and logged."""
        path = self.path(key)
        try:
            with path.open("rb") as file:
                return entry.decode(file.read(entry.MOST + 1), key, start)
        except FileNotFoundError:
            return None
        except (OSError, Unreadable) as error:
            log.warning("tuned.ignored", path=str(path), reason=str(error))
            return None

    def write(self, document: Document) -> Path:
        """Store a document; readers see the old one or the new one.

        Raises:
            NotStored: the folder cannot be written.
        """
        path = self.path(document.key)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            whole.write(path, entry.encode(document))
        except OSError as error:
            raise NotStored(f"{path}: {error.strerror or error}") from None
        return path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the right to tune with this cache.

        Raises:
            TuneRunning: somebody else has it.
            NotStored: the folder cannot be written.
        """
        path = self._folder / "lock"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
        except OSError as error:
            raise NotStored(f"{path}: {error.strerror or error}") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise TuneRunning(f"{path} is held by another process") from None
            yield
