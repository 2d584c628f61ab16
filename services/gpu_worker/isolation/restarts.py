"""When a child that died is started again, and from when on its deaths count as trouble: pure."""

from dataclasses import dataclass

FIRST = 0.1  # [s] before the second start
LONGEST = 30.0  # [s]
HEALTHY = 20.0  # [s] a child that lived this long is forgiven the deaths before it


@dataclass(frozen=True, slots=True)
class Restarts:
    """Deaths in a row, and what follows from them."""

    limit: int  # deaths in a row that are trouble
    deaths: int = 0

    @property
    def trouble(self) -> bool:
        """Whether this is more than an accident."""
        return self.deaths >= self.limit

    @property
    def pause(self) -> float:
        """How long to wait before the next start [s]."""
        return float(min(FIRST * 2.0 ** min(max(self.deaths - 1, 0), 16), LONGEST))

    def died(self, *, lived: float) -> "Restarts":
        """After one more death of a child that had been ready for `lived` seconds."""
        return Restarts(self.limit, 1 if lived >= HEALTHY else self.deaths + 1)
