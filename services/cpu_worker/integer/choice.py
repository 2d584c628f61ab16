"""Who multiplies batches with quantized weights: our kernels or ONNX Runtime, by a trial here.

A trial is made at the first product of a class (sizes, and rows of x, to a power of two) and
answers for every weight of that class; only then is the library imported, and only weights that it
wins for get a session and its copy. It compares the results first: products of bytes are exact, so
a library whose sums are not ours is out (on processors without VNNI its fastest kernels saturate);
float32 products agree to their rounding.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np

from services.cpu_worker.integer import onnx_model, onnx_product
from services.cpu_worker.integer.onnx_model import SessionFailed
from services.cpu_worker.integer.onnx_product import OnnxProduct
from services.cpu_worker.integer.weight import Grouped, Summing
from shared.quantization import affine
from shared.tensors.dtypes import F32, I8, I32, Array
from shared.tensors.layouts import Layout, Tensor

LEAST_OCTETS, LEAST_FLOATS = 4, 16  # rows of x; fewer wait for the bytes of the weight alone
LEAST_CODES = 2**16  # a smaller weight is not worth a session
# Below, cutting rows of x into digits costs more than it saves.
LEAST_OUTPUTS, LEAST_PRODUCTS = 64, 2**18
ROUNDS = 3  # of a trial; the best counts, as neighbours only ever add to one
MARGIN = 0.95  # ONNX Runtime must be so much faster: it keeps a second copy of the weight
CLOSE = 1e-5  # of float32 results, beside the largest

Class = tuple[str, int, int, int]
ByDigits = Callable[[Summing, F32], F32 | None]  # see `digits.multiply`


@dataclass(slots=True, eq=False)
class Trials:
    """What the trials of this process found; shared by its weights."""

    threads: int = 1
    absent: str | None = None  # why ONNX Runtime is no candidate; None where it is one
    wins: dict[Class, bool] = field(default_factory=dict)  # whether ONNX Runtime won
    lock: Lock = field(default_factory=Lock)


@dataclass(slots=True, eq=False)
class Rival:
    """A weight in ONNX Runtime, made when a trial is, and kept while it wins."""

    kind: str
    shape: tuple[int, int]
    least: int  # rows of x
    make: Callable[[], OnnxProduct]
    trials: Trials
    session: OnnxProduct | None = None

    def faster(self, x: Array, ours: Callable[[Any], Array]) -> OnnxProduct | None:
        """The session where it beats ours for such a batch; a library that fails is out."""
        rows, cols = self.shape
        n, codes = x.shape[0], rows * cols
        if self.trials.absent is not None or n < self.least:
            return None
        if not LEAST_CODES <= codes <= onnx_model.LIMIT:
            return None
        kind = (self.kind, n.bit_length(), rows.bit_length(), cols.bit_length())
        if self.trials.wins.get(kind) is False:
            return None
        with self.trials.lock:
            return self._winner(kind, x, ours)

    def _winner(self, kind: Class, x: Array, ours: Callable[[Any], Array]) -> OnnxProduct | None:
        try:
            session = self.session or self.make()
            if kind not in self.trials.wins:
                self.trials.wins[kind] = _wins(session, ours, x)
        except SessionFailed as error:
            self.trials.absent = f"{error}"
            return None
        if self.trials.wins[kind]:
            self.session = session
        return self.session if self.trials.wins[kind] else None


@dataclass(slots=True, eq=False)
class ChosenOctets(Summing):
    """int8 codes in our form, and in a session once that is faster; see `weight.Summing`."""

    ours: Summing
    rival: Rival
    by_digits: ByDigits | None = None
    scale: F32 = field(init=False)
    totals: I32 = field(init=False)

    def __post_init__(self) -> None:
        self.scale, self.totals = self.ours.scale, self.ours.totals

    def multiply(self, x: F32) -> F32:
        """See `weight.Quantized`; by products of bytes where that is faster."""
        rows, cols = self.rival.shape
        worth = rows >= LEAST_OUTPUTS and x.shape[0] * rows * cols >= LEAST_PRODUCTS
        if self.by_digits is not None and worth:
            made = self.by_digits(self, x)
            if made is not None:
                return made
        return self.ours.multiply(x)

    def sums(self, x: I8) -> I32:
        """See `weight.Summing`."""
        session = self.rival.faster(x, self.ours.sums)
        if session is None:
            return self.ours.sums(x)
        made: I32 = session.multiply(x)
        return made


@dataclass(slots=True, eq=False)
class ChosenNibbles(Grouped):
    """Signed codes of four bits, in a session for batches that win there; see `weight.Grouped`."""

    ours: Grouped
    rival: Rival

    def multiply(self, x: F32) -> F32:
        """See `weight.Quantized`."""
        session = self.rival.faster(x, self.ours.multiply)
        if session is None:
            return self.ours.multiply(x)
        made: F32 = session.multiply(x)
        return made

    def multiply_octets(self, x: I8) -> F32:
        """See `weight.Grouped`."""
        return self.ours.multiply_octets(x)


def octets(ours: Summing, tensor: Tensor, trials: Trials, by_digits: ByDigits | None) -> Summing:
    """An INT8 weight, and ONNX Runtime for batches that it wins."""
    codes = affine.codes(tensor)

    def make() -> OnnxProduct:
        return onnx_product.of_octets(codes, threads=trials.threads)

    rows, cols = codes.shape
    return ChosenOctets(ours, Rival("octets", (rows, cols), LEAST_OCTETS, make, trials), by_digits)


def nibbles(ours: Grouped, tensor: Tensor, trials: Trials) -> Grouped:
    """A weight of groups, and ONNX Runtime where it has a product of such groups."""
    rows, cols = tensor.shape
    codes, scale = tensor.parts["codes"].view(np.uint8), tensor.parts["scale"].view(np.float32)
    group = cols // max(scale.shape[1], 1)
    if tensor.layout is not Layout.INT4_GROUP or group not in onnx_product.BLOCKS:
        return ours

    def make() -> OnnxProduct:
        return onnx_product.of_nibbles(codes, scale, threads=trials.threads)

    return ChosenNibbles(ours, Rival("nibbles", (rows, cols), LEAST_FLOATS, make, trials))


def _wins(session: OnnxProduct, ours: Callable[[Any], Array], x: Array) -> bool:
    """Whether the session beats ours by the margin; both are timed in turns.

    Raises:
        SessionFailed: it fails, or its results are wrong; bytes of 127 would show a saturation.
    """
    exact = x.dtype == np.int8
    waves = np.cos(np.arange(x.size, dtype=np.float32)).reshape(x.shape)
    for tried in (x if exact else waves, np.full_like(x, 127)):
        found, wanted = session.multiply(tried), ours(tried)
        slack = 0.0 if exact else CLOSE * float(np.abs(wanted).max(initial=0.0))
        if not np.allclose(found, wanted, rtol=0.0, atol=slack):
            raise SessionFailed("its products are wrong on this processor")
    times = [(_timed(session.multiply, x), _timed(ours, x)) for _ in range(ROUNDS)]
    theirs, mine = (min(column) for column in zip(*times, strict=True))
    return bool(theirs < MARGIN * mine)


def _timed(multiply: Callable[[Any], object], x: Array) -> float:
    began = time.perf_counter()
    multiply(x)
    return time.perf_counter() - began
