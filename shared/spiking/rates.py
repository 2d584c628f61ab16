"""Numbers from 0 to 1 as spikes in every step, by whole numbers alone: the same on every device.

A share becomes P = round(share 2**24). Evenly, neuron i spikes in step t (from 1) when
(phase_i + t P) / 2**24 passes a whole number, so that after T steps floor or ceil of share T spikes
have come; phases are spread over the neurons, lest all of them spike at once. At random, it spikes
when the upper 24 bits of a hash of seed, step and neuron lie below P: a draw per step that does
not depend on the row, so that a row has the same spikes in any batch.

Hash: the finaliser of MurmurHash3 (Appleby 2011), 32 bits.
"""

import numpy as np
import numpy.typing as npt

from shared.tensors.dtypes import F32, U8, U32

PLACES = 24
WHOLE = 1 << PLACES
STRIDE = 0x9E3779B9  # 2**32 over the golden ratio: neighbouring numbers hash apart
U64 = npt.NDArray[np.uint64]


def mixed(numbers: U32) -> U32:
    """A hash of each number."""
    found = numbers.astype(np.uint32)
    found ^= found >> np.uint32(16)
    found *= np.uint32(0x85EBCA6B)
    found ^= found >> np.uint32(13)
    found *= np.uint32(0xC2B2AE35)
    found ^= found >> np.uint32(16)
    return found


def shares(x: F32) -> U32:
    """Whole numbers of 0..2**24 for numbers of 0..1; others count as the nearer end, NaN as 0."""
    known: F32 = np.where(np.isnan(x), np.float32(0.0), x)
    scaled: F32 = np.rint(np.clip(known, 0.0, 1.0) * np.float32(WHOLE))
    return scaled.astype(np.uint32)


def phases(neurons: int) -> U32:
    """Where each neuron begins, below 2**24."""
    return mixed(np.arange(neurons, dtype=np.uint32)) >> np.uint32(8)


def evenly(x: F32, steps: int) -> U8:
    """Evenly spaced spikes.

    Args:
        x: (n, k) float32 of 0..1.

    Returns:
        (n, steps, k) uint8 of 0 and 1.
    """
    share = shares(x).astype(np.uint64)[:, np.newaxis]
    phase = phases(x.shape[1]).astype(np.uint64)
    ends: U64 = np.arange(steps + 1, dtype=np.uint64)[:, np.newaxis]
    passed = (phase + ends * share) >> np.uint64(PLACES)
    return np.diff(passed, axis=1).astype(np.uint8)


def randomly(x: F32, steps: int, seed: int) -> U8:
    """Independent spikes.

    Args:
        x: (n, k) float32 of 0..1.
        seed: 0..2**31 - 1.

    Returns:
        (n, steps, k) uint8 of 0 and 1.
    """
    neurons = mixed(np.arange(x.shape[1], dtype=np.uint32) + np.uint32(1))
    with np.errstate(over="ignore"):
        times = (np.arange(steps, dtype=np.uint32) + np.uint32(1)) * np.uint32(STRIDE)
        drawn = mixed((times + np.uint32(seed))[:, np.newaxis] ^ neurons) >> np.uint32(8)
    return (drawn < shares(x)[:, np.newaxis]).astype(np.uint8)
