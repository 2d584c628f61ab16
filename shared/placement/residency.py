"""Which tensors leave a full device: those whose absence costs least, per byte and over time.

    worth = seconds to bring it back / (bytes * ticks until it is read again)     [s / byte / tick]

A network reads its weights in the same order run after run, so a tensor is expected again one
period after its last use. One that is overdue, or was used only once, is expected to stay idle for
as long as it has been idle already. A tick is one upload or use of any tensor.

Sources: Scheuermann, Shim and Vingralek 1997 (LNC-R: profit = rate * cost / size); Belady 1966
(what is read latest leaves). Orders by recency alone, also GreedyDual-Size (Cao and Irani 1997)
when the costs per byte are alike, throw out each weight of a network that is larger than the
device just before it is read.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

LATENCY = 50e-6  # [s] of one transfer whatever its size; isolated launches on Polaris take 40 to 90


class Held(NamedTuple):
    """What must be known of one tensor on the device."""

    key: int  # the order in which tensors came
    size: int  # [bytes] that leaving frees
    cost: float  # [s] until it is back, from `seconds_back`
    used: int  # tick of the last use
    period: int | None = None  # ticks between the last two uses

    def read(self, now: int) -> "Held":
        """The same tensor after a use at tick `now`."""
        return Held(self.key, self.size, self.cost, now, max(now - self.used, 1))

    def wait(self, now: int) -> int:
        """Ticks until it is expected to be read again, at least 1."""
        idle = max(now - self.used, 1)
        if self.period is None or idle >= self.period:
            return idle
        return self.period - idle

    def worth(self, now: int) -> float:
        """What keeping it saves [s / byte / tick]."""
        return self.cost / (self.size * self.wait(now))


def seconds_back(size: int, bandwidth: float, *, transfers: int, saved: bool) -> float:
    """Time that leaving and coming back take [s].

    Args:
        size: [bytes] on the device.
        bandwidth: [bytes/s] as measured.
        transfers: arrays that the tensor is made of.
        saved: whether the host has its contents; otherwise they are read back first.
    """
    once = transfers * LATENCY + size / bandwidth
    return once if saved else 2.0 * once


def leaving(
    held: Iterable[Held], pinned: Collection[int], need: int, now: int
) -> tuple[Held, ...] | None:
    """The tensors to drop so that `need` bytes fall free; None when all of them are not enough.

    Args:
        held: every tensor that could be brought back.
        pinned: keys of those that the current call reads.
        need: [bytes].
        now: the current tick.

    Returns:
        No tensor of which the others could do without, the least worth first; ties go by age.
    """
    free = sorted(
        (one for one in held if one.key not in pinned),
        key=lambda one: (one.worth(now), one.key),
    )
    chosen: list[Held] = []
    freed = 0
    for one in free:
        if freed >= need:
            break
        chosen.append(one)
        freed += one.size
    return _spared(chosen, freed - need) if freed >= need else None


def _spared(chosen: list[Held], excess: int) -> tuple[Held, ...]:
    """Without those that the excess [bytes] allows to stay, the most worth first."""
    kept = set()
    for one in reversed(chosen):
        if one.size <= excess:
            excess -= one.size
            kept.add(one.key)
    return tuple(one for one in chosen if one.key not in kept)
