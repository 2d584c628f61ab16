"""Who multiplies bytes with int8 codes: our kernels or ONNX Runtime, by a trial on this machine.

Both are exact, so the choice never changes a result; a library whose sums are not ours is out (on
processors without VNNI its fastest kernels saturate). A trial is made at the first product of a
class (sizes, and rows of x, to a power of two) and answers for every weight of that class; only
then is the library imported, and only weights that it wins for get a session and its copy.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from services.cpu_worker.integer import onnx_sums
from services.cpu_worker.integer.onnx_sums import OnnxSums, SessionFailed
from services.cpu_worker.integer.weight import Summing
from shared.tensors.dtypes import F32, I8, I32

LEAST_ROWS = 4  # of x; fewer only wait for the weight's bytes, and a session adds its dispatch
LEAST_CODES = 2**16  # a smaller weight is not worth a session
ROUNDS = 3  # of a trial; the best counts, as neighbours only ever add to one
MARGIN = 0.95  # ONNX Runtime must be so much faster: it keeps a second copy of the weight

Class = tuple[int, int, int]
ByDigits = Callable[[Summing, F32], F32 | None]  # see `digits.multiply`


@dataclass(slots=True, eq=False)
class Trials:
    """What the trials of this process found; shared by its weights."""

    threads: int = 1
    absent: str | None = None  # why ONNX Runtime is no candidate; None where it is one
    wins: dict[Class, bool] = field(default_factory=dict)  # whether ONNX Runtime won
    lock: Lock = field(default_factory=Lock)


@dataclass(slots=True, eq=False)
class Chosen:
    """int8 codes in our form, and in a session once that is faster; see `weight.Summing`."""

    ours: Summing
    codes: I8  # (rows, cols)
    trials: Trials
    by_digits: ByDigits | None = None
    session: OnnxSums | None = None

    @property
    def scale(self) -> F32:
        """See `weight.Summing`."""
        return self.ours.scale

    def multiply(self, x: F32) -> F32:
        """See `weight.Quantized`; by products of bytes where that is faster."""
        made = self.by_digits(self, x) if self.by_digits is not None else None
        return self.ours.multiply(x) if made is None else made

    def sums(self, x: I8) -> I32:
        """See `weight.Summing`."""
        if self.trials.absent is None and self._worth_it(x.shape[0]):
            with self.trials.lock:
                session = self._winner(x)
            if session is not None:
                return session.sums(x)
        return self.ours.sums(x)

    def _worth_it(self, n: int) -> bool:
        return n >= LEAST_ROWS and LEAST_CODES <= self.codes.size <= onnx_sums.LIMIT

    def _winner(self, x: I8) -> OnnxSums | None:
        """The session, where it is faster for such a batch; a library that fails is out."""
        rows, cols = self.codes.shape
        kind = (x.shape[0].bit_length(), rows.bit_length(), cols.bit_length())
        if self.trials.wins.get(kind) is False:
            return None
        try:
            session = self.session or onnx_sums.prepare(self.codes, threads=self.trials.threads)
            if kind not in self.trials.wins:
                self.trials.wins[kind] = _is_faster(session, self.ours, x)
        except SessionFailed as error:
            self.trials.absent = f"{error}"
            return None
        if self.trials.wins[kind]:
            self.session = session
        return self.session if self.trials.wins[kind] else None


def _is_faster(session: OnnxSums, ours: Summing, x: I8) -> bool:
    """Whether the session beats ours by the margin; both are timed in turns.

    Raises:
        SessionFailed: it fails, or its sums are wrong: bytes of 127 would show a saturation.
    """
    for tried in (x, np.full_like(x, 127)):
        if not np.array_equal(session.sums(tried), ours.sums(tried)):
            raise SessionFailed("its sums are not exact on this processor")
    times = [(_timed(session, x), _timed(ours, x)) for _ in range(ROUNDS)]
    theirs, mine = (min(column) for column in zip(*times, strict=True))
    return bool(theirs < MARGIN * mine)


def _timed(candidate: Summing | OnnxSums, x: I8) -> float:
    began = time.perf_counter()
    candidate.sums(x)
    return time.perf_counter() - began
