"""Waiting for what this process does by itself and announces to nobody."""

from collections.abc import Callable

import anyio


async def until(holds: Callable[[], object], *, seconds: float = 5.0) -> None:
    """Let other tasks run until something holds."""
    with anyio.fail_after(seconds):
        while not holds():
            await anyio.lowlevel.checkpoint()
