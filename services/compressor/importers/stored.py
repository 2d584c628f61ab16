"""A stored network of ours, written by somebody else: nothing in it is believed.

Runs inside the sandbox alone, as every reader of files from outside.
"""

from collections import Counter

import numpy as np

from services.compressor.importers.coverage import Coverage
from shared.contracts.errors import InvalidNetwork
from shared.network import artifact
from shared.network.graph import Network
from shared.tensors.layouts import Tensor


def decode(data: bytes) -> tuple[Network, Coverage]:
    """The network of an artifact, and its operators with counts.

    Raises:
        InvalidNetwork: no artifact, cut off, unsound, or a weight that is not finite.
    """
    try:
        network = artifact.unpack(data)
    except ValueError as error:
        raise InvalidNetwork(str(error)) from None
    for name, weight in network.weights.items():
        _require_finite(name, weight)
    counts = Counter(step.operator for step in network.steps)
    return network, Coverage(dict(sorted(counts.items())))


def _require_finite(name: str, weight: Tensor) -> None:
    for part, array in weight.parts.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            place = int(np.flatnonzero(~np.isfinite(array.reshape(-1)))[0])
            value = array.reshape(-1)[place]
            raise InvalidNetwork(f"weight {name[:80]!r}: {part} holds {value} at place {place}")
