"""What this machine's sensors tell of energy: the counters of processor packages, the power of a
card. Both see everything that runs there, idling included.

Files: Linux, "Power Capping Framework" (`energy_uj`, in µJ, which starts again when it is full) and
"GPU Power/Thermal Controls and Monitoring" of amdgpu (`power1_average` or `power1_input`, in µW).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

POWERCAP = Path("/sys/class/powercap")
HWMON = Path("/sys/class/hwmon")
POLARIS = ("0x67df", "0x6fdf", "0x67ef", "0x67ff")  # PCI devices: Polaris 10, 20, 30; 11 and 21
POWER = ("power1_average", "power1_input")
MICRO = 1e-6


class NoSensor(Exception):
    """Nothing can be read; the text says why."""


class Sensor(Protocol):
    """What tells energy."""

    name: str

    def taken(self) -> float:
        """Energy since the last call, at the first since it was found [J]; raises NoSensor."""


class Package:
    """The counter of one processor package."""

    def __init__(self, folder: Path) -> None:
        """Raises NoSensor where it cannot be read."""
        self.name = f"powercap {_text(folder / 'name')}"
        self._file = folder / "energy_uj"
        self._full = _number(folder / "max_energy_range_uj")
        self._last = _number(self._file)

    def taken(self) -> float:
        """See `Sensor`; right while the counter fills at most once between two calls."""
        now = _number(self._file)
        gone = now - self._last if now >= self._last else now - self._last + self._full
        self._last = now
        return gone * MICRO


class Board:
    """The power of a card, added up over time by the trapezoidal rule."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises NoSensor where it cannot be read."""
        self._file = next((folder / name for name in POWER if (folder / name).exists()), folder)
        self._clock = clock
        self.name = f"amdgpu {self._file.name}"
        self._watts, self._at = _number(self._file) * MICRO, clock()

    def taken(self) -> float:
        """See `Sensor`."""
        watts, at = _number(self._file) * MICRO, self._clock()
        joules = (self._watts + watts) / 2 * (at - self._at)
        self._watts, self._at = watts, at
        return joules


def packages(root: Path = POWERCAP) -> list[Sensor]:
    """The counters of all processor packages; raises NoSensor."""
    found = [folder for folder in sorted(root.glob("*-rapl:*")) if folder.name.count(":") == 1]
    if not found:
        raise NoSensor(f"{root} has no counter of a processor package")
    return [Package(folder) for folder in found]


def board(root: Path = HWMON) -> list[Sensor]:
    """The power sensor of the one card, or of the one Polaris among several; raises NoSensor."""
    cards = [folder for folder in sorted(root.glob("hwmon*")) if _of_amdgpu(folder)]
    polaris = [folder for folder in cards if _text(folder / "device" / "device") in POLARIS]
    for found in (cards, polaris):
        if len(found) == 1:
            return [Board(found[0])]
    raise NoSensor(f"{root} has {len(cards)} power sensors of amdgpu, {len(polaris)} of Polaris")


def none_known() -> list[Sensor]:
    """Of a device whose sensors nobody here reads; raises NoSensor."""
    raise NoSensor("no sensor of this kind of device is read")


def _of_amdgpu(folder: Path) -> bool:
    named = (folder / "name").exists() and _text(folder / "name") == "amdgpu"
    return named and any((folder / name).exists() for name in POWER)


def _number(path: Path) -> int:
    text = _text(path)
    if not text.isdecimal():
        raise NoSensor(f"{path} holds {text[:20]!r}, no number")
    return int(text)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError as error:
        hint = "; its owner may let others read it" if isinstance(error, PermissionError) else ""
        raise NoSensor(f"{path}: {error.strerror}{hint}") from None
