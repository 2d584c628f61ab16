"""Time as the machine sees it: seconds since the epoch, untouched by changes of the clock."""

import time


class Clock:
    """Reads the date once and counts from there."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Now [s since the epoch]."""
        return self._offset + time.monotonic()
