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

    def call(self, tenant: str, size: int, *, limit: int | None = None) -> "_Place":
        """Hold a place and `size` bytes for one call of a tenant, for the length of a block.

        Raises (where the block begins):
            Busy: the tenant has too many calls in hand, or memory is full.
        """
        return _Place(self, tenant, size, self._limits.calls if limit is None else limit)

    def enter(self, tenant: str, size: int, limit: int) -> None:
        """Take a place; raises like `call`."""
        held = self._tenants[tenant]
        if held >= limit:
            raise Busy(f"tenant {tenant} has {limit} calls in hand, the most it may have")
        self._require_room(size)
        self._tenants[tenant] = held + 1
        self.held += size

    def leave(self, tenant: str, size: int) -> None:
        """Give a place back."""
        self.held -= size
        self._tenants[tenant] -= 1
        if not self._tenants[tenant]:
            del self._tenants[tenant]

    @contextmanager
    def memory(self, size: int) -> Iterator[None]:
        """Hold `size` bytes.

        Raises:
            Busy: they are not there.
        """
        self._require_room(size)
        self.held += size
        try:
            yield
        finally:
            self.held -= size

    def _require_room(self, size: int) -> None:
        if self.held + size > self._limits.in_flight:
            held = f"{self.held} of {self._limits.in_flight}"
            raise Busy(f"requests in hand take {held} bytes; {size} more do not fit")


class _Place:
    """What a call holds. A class, because a generator costs every call two microseconds."""

    __slots__ = ("_admission", "_limit", "_size", "_tenant")

    def __init__(self, admission: Admission, tenant: str, size: int, limit: int) -> None:
        self._admission, self._tenant, self._size, self._limit = admission, tenant, size, limit

    def __enter__(self) -> None:
        self._admission.enter(self._tenant, self._size, self._limit)

    def __exit__(self, *_: object) -> None:
        self._admission.leave(self._tenant, self._size)
