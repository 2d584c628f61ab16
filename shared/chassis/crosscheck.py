"""Recompute a share of a device's results on the CPU: one that computes wrongly must not go on.

A run is checked in a thread of its own, which gives way to everything else; what does not fit its
short queue is not checked. For a network that treats rows apart a few rows stand for all.
"""

import os
import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from weakref import WeakSet

import numpy as np
import numpy.typing as npt
import structlog

from shared.chassis import batching, records
from shared.chassis.fitness import Fitness, State
from shared.contracts.errors import InvalidTensor
from shared.network import execute
from shared.network.execute import Loaded
from shared.network.graph import Network
from shared.operators import catalog
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Tensors
from shared.tensors import layouts
from shared.tensors.layouts import Layout, Tensor

EVERY = 256  # runs of which one is checked, besides the first of each artifact
WAITING = 4  # runs that may wait for their check
ROWS = 8  # of a checked run
NICE = 15  # of the checking thread
RTOL, ATOL = 1e-3, 1e-5  # of the largest value of an output; far beyond what rounding does
SHAKE = 1e-6  # relative change of inputs that tells how much rounding may do in this network
MAGNIFIED = 30.0  # times the effect of a shake that a sound device may be off
JUMPS = 0.05  # share of values that may be off where a rounding decides between two values
F64 = npt.NDArray[np.float64]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Sample:
    """A run to check; `verdict` is done with what is wrong, empty when nothing is."""

    artifact: str
    network: Network
    inputs: Tensors
    outputs: Tensors
    verdict: "Future[str]" = field(default_factory=Future)


class Crosscheck:
    """Chooses runs, checks them, and quarantines the worker whose device is wrong."""

    def __init__(self, fitness: Fitness, *, every: int = EVERY) -> None:
        """`every`: of so many runs one is checked, besides the first of each artifact."""
        self.checked = 0
        self.skipped = 0  # chosen, but the queue was full
        self._fitness = fitness
        self._every = every
        self._runs = 0
        self._seen: WeakSet[Loaded] = WeakSet()
        self._waiting: queue.Queue[Sample] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None

    def offer(
        self, artifact: str, loaded: Loaded, inputs: Tensors, outputs: Tensors
    ) -> "Future[str] | None":
        """Have a run checked if it is its turn; called from one thread, never blocks.

        Args:
            artifact: digest, for the log.
            inputs, outputs: host tensors; neither is written to from now on.

        Returns:
            What will be wrong with it (empty: nothing), or None when it is not checked.
        """
        self._runs += 1
        if loaded in self._seen and self._runs % self._every:
            return None
        sample = Sample(artifact, loaded.network, inputs, outputs)
        try:
            self._waiting.put_nowait(sample)
        except queue.Full:
            self.skipped += 1
            return None
        self._seen.add(loaded)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="crosscheck", daemon=True)
            self._thread.start()
        return sample.verdict

    def _work(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)  # Linux: of the thread
        rng = np.random.default_rng()
        while True:
            sample = self._waiting.get()
            wrong = ""
            try:
                wrong = check(sample, rng)
            except Exception as error:  # a worker loop: a check that fails says nothing of a device
                log.warning("crosscheck.failed", reason=records.describe(error))
            self.checked += 1
            if wrong:
                log.error("device.quarantined", artifact=sample.artifact, reason=wrong)
                self._fitness.become(State.QUARANTINED, f"artifact {sample.artifact[:12]}: {wrong}")
            sample.verdict.set_result(wrong)


def check(sample: Sample, rng: np.random.Generator) -> str:
    """What is wrong with the outputs of a run, in words; empty when nothing is.

    Args:
        rng: chooses rows, and shakes inputs where the outputs look wrong at first.
    """
    network, inputs, outputs = sample.network, sample.inputs, sample.outputs
    if _joins(network):
        inputs, outputs = _some_rows(inputs, outputs, rng)
    reference = execute.load(network, ReferenceBackend())
    wanted = reference.run(inputs)
    tolerated = JUMPS if _jumps(network) else 0.0
    if not difference(outputs, wanted, wanted, tolerated):
        return ""
    shaken = reference.run({name: _shaken(tensor, rng) for name, tensor in inputs.items()})
    return difference(outputs, wanted, shaken, tolerated)


def difference(outputs: Tensors, wanted: Tensors, shaken: Tensors, tolerated: float) -> str:
    """The first value of the first output that is wrong, in words; empty when none is.

    Args:
        shaken: what comes of inputs that differ by a rounding; tells how far a sound device may go.
        tolerated: share of an output's values that may be off.
    """
    for name, expected in wanted.items():
        given, right, moved = (_numbers(each) for each in (outputs[name], expected, shaken[name]))
        if given.shape != right.shape:
            return f"output {name!r} has shape {given.shape}, not {right.shape}"
        with np.errstate(all="ignore"):
            size, effect = _largest(right), _largest(moved - right)
            near = np.abs(given - right) <= RTOL * size + ATOL + MAGNIFIED * effect
        off = ~(near | (given == right) | (np.isnan(given) & np.isnan(right)))
        if off.any() and off.mean() > tolerated:
            index = tuple(int(i) for i in np.unravel_index(int(off.argmax()), off.shape))
            return f"output {name!r} is {given[index]:g} at {index}, not {right[index]:g}"
    return ""


def _largest(values: F64) -> float:
    """The largest finite magnitude."""
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def _numbers(tensor: Tensor) -> F64:
    return tensor.values.astype(np.float64)


def _joins(network: Network) -> bool:
    try:
        return batching.signature(network).joins
    except InvalidTensor:
        return False


def _jumps(network: Network) -> bool:
    """Whether a step turns a rounding into another value, as thresholds and whole numbers do."""
    return any(
        catalog.spec(step.operator).jumps or step.attributes.get("x_bits", 32) != 32
        for step in network.steps
    )


def _some_rows(
    inputs: Tensors, outputs: Tensors, rng: np.random.Generator
) -> tuple[Tensors, Tensors]:
    """A few rows of a batch, the same of every tensor."""
    count = next(iter(inputs.values())).shape[0]
    chosen = np.sort(rng.permutation(count)[:ROWS])

    def cut(tensors: Tensors) -> dict[str, Tensor]:
        return {
            name: layouts.dense(tensor.values[chosen], tensor.dtype)
            for name, tensor in tensors.items()
        }

    return cut(inputs), cut(outputs)


def _shaken(tensor: Tensor, rng: np.random.Generator) -> Tensor:
    """The same numbers, each changed by about a rounding; whole numbers stay."""
    if tensor.layout is not Layout.DENSE or tensor.values.dtype.kind != "f":
        return tensor
    noise = 1.0 + SHAKE * rng.uniform(-1.0, 1.0, tensor.shape)
    return layouts.dense((_numbers(tensor) * noise).astype(tensor.values.dtype), tensor.dtype)
