"""How long to wait before a dead process is started again."""

FIRST = 0.25  # [s]
LONGEST = 15.0  # [s]
HEALTHY = 20.0  # [s] a process that lived this long is forgiven its earlier deaths


def delay(deaths: int, *, lived: float) -> tuple[int, float]:
    """Count a death.

    Args:
        deaths: deaths in a row before this one.
        lived: how long the process ran [s].

    Returns:
        Deaths in a row including this one, and the pause before the next start [s].
    """
    deaths = 1 if lived >= HEALTHY else deaths + 1
    return deaths, min(FIRST * 2.0 ** min(deaths - 1, 16), LONGEST)
