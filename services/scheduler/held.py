"""The deliveries in hand: kept from coming again until they are acknowledged or given back."""

import contextlib

from shared.bus.port import Delivery
from shared.contracts.errors import SuiteError


class Held:
    """Deliveries of EL_JOBS by their sequence."""

    def __init__(self) -> None:
        self._deliveries: dict[int, Delivery] = {}

    def take(self, delivery: Delivery) -> None:
        """Hold a delivery; one that came again replaces its earlier self."""
        self._deliveries[delivery.sequence] = delivery

    async def acknowledge(self, sequence: int) -> None:
        """It is done for. One that is not in hand is nothing to do."""
        delivery = self._deliveries.pop(sequence, None)
        if delivery is not None:
            await delivery.ack()

    async def give_back(self, sequence: int, delay: float) -> None:
        """It comes again after `delay` seconds."""
        delivery = self._deliveries.pop(sequence, None)
        if delivery is not None:
            await delivery.nak(delay=delay)

    async def keep(self) -> None:
        """Tell the broker that all of them are still in hand."""
        for delivery in list(self._deliveries.values()):
            with contextlib.suppress(SuiteError):  # the next round may pass; if not, it comes again
                await delivery.in_progress()

    async def release(self) -> None:
        """Give everything back at once."""
        for sequence in list(self._deliveries):
            with contextlib.suppress(SuiteError):  # then it comes back by itself
                await self.give_back(sequence, 0.0)
