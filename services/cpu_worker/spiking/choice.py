"""Which way through a layer is faster here: adding up what spikes alone, or a product of all.

Where the ways cross depends on sizes, on caches and on BLAS. Both make the same bits, so the first
calls of a kind go both ways and are timed; the later ones go the way that won.
"""

from collections import OrderedDict
from statistics import median
from typing import NamedTuple

DOUBT = 0.15  # share of inputs that spike below which a product is not tried
TRIALS = 3  # an odd number, so that one that a neighbour disturbed does not decide
BANDS = 10  # of shares
REMEMBERED = 4096  # kinds


class Kind(NamedTuple):
    """Calls that go the same way."""

    inputs: int
    neurons: int
    narrow: bool  # whether BLAS takes float32
    threads: int
    size: int  # of rows × steps: its binary digits
    band: int  # of the share that spikes


def kind(sizes: tuple[int, int, int, int], share: float, *, narrow: bool, threads: int) -> Kind:
    """The kind of a call of (rows, steps, inputs, neurons)."""
    rows, steps, inputs, neurons = sizes
    size = (rows * steps).bit_length()
    return Kind(inputs, neurons, narrow, threads, size, int(share * BANDS))


class Choice:
    """What trials told, by kind; the kinds that were tried longest ago are forgotten first."""

    def __init__(self) -> None:
        self._ratios: OrderedDict[Kind, tuple[float, ...]] = OrderedDict()

    def product(self, of: Kind) -> bool | None:
        """Whether the product is faster; None while more trials are wanted."""
        ratios = self._ratios.get(of, ())
        return None if len(ratios) < TRIALS else median(ratios) < 1.0

    def tell(self, of: Kind, *, product: float, events: float) -> None:
        """What a call took both ways [s]."""
        ratio = product / max(events, 1e-9)
        self._ratios[of] = (*self._ratios.get(of, ()), ratio)[:TRIALS]
        while len(self._ratios) > REMEMBERED:
            self._ratios.popitem(last=False)
