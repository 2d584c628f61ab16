"""What the gateway takes in: bytes in memory, and calls in hand per tenant."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from services.gateway.faults import Busy
from services.gateway.limits import Limits


class Admission:
    """Counts what is in hand; refuses on arrival, so that nothing waits without a bound."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._tenants: Counter[str] = Counter()
        self.held = 0  # bytes of all admitted requests

    @property
    def calls(self) -> int:
        """Calls in hand."""
        return self._tenants.total()

    @contextmanager
    def call(self, tenant: str, size: int, *, limit: int | None = None) -> Iterator[None]:
        """Hold a place and `size` bytes for one call of a tenant.

        Raises:
            Busy: the tenant has too many calls in hand, or memory is full.
        """
        most = self._limits.calls if limit is None else limit
        if self._tenants[tenant] >= most:
            raise Busy(f"tenant {tenant} has {most} calls in hand, the most it may have")
        self._tenants[tenant] += 1
        try:
            with self.memory(size):
                yield
        finally:
            self._tenants[tenant] -= 1
            if not self._tenants[tenant]:
                del self._tenants[tenant]

    @contextmanager
    def memory(self, size: int) -> Iterator[None]:
        """Hold `size` bytes.

        Raises:
            Busy: they are not there.
        """
        if self.held + size > self._limits.in_flight:
            held = f"{self.held} of {self._limits.in_flight}"
            raise Busy(f"requests in hand take {held} bytes; {size} more do not fit")
        self.held += size
        try:
            yield
        finally:
            self.held -= size
