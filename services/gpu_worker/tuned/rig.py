"""Measures configurations on the device: one problem, its tensors, its known answer."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter

import numpy as np
import pyopencl as cl

from services.gpu_worker import selftest
from services.gpu_worker.backend import OpenCLBackend
from services.gpu_worker.launch.call import Gpu
from services.gpu_worker.programs import Argument, Defines, Kernel, Programs
from services.gpu_worker.resident import DeviceTensor
from services.gpu_worker.tuned import search, space
from services.gpu_worker.tuned.problems import Problem
from services.gpu_worker.tuned.search import Frozen, Refused
from services.gpu_worker.tuned.space import Values
from shared.contracts.errors import DeviceFailed
from shared.operators import catalog
from shared.operators.reference import ReferenceBackend
from shared.operators.spec import Case, OperatorSpec, Tensors
from shared.tensors.layouts import dense

SAMPLE = 2e-3  # [s] a sample lasts at least so long,
REPEATS = 32  # but is no more than so many calls
SHOWN = 300  # characters of a reason


@dataclass(slots=True)
class Watch:
    """What a call launched: enough to tell launches apart, and events that hold their times."""

    launches: list[object] = field(default_factory=list)
    events: list[cl.Event] = field(default_factory=list)

    @property
    def seconds(self) -> float | None:
        """Time of all launches by the device's clock [s]; None when it has none. Wait first."""
        try:
            return sum(event.profile.end - event.profile.start for event in self.events) * 1e-9
        except cl.Error:
            return None


class WatchedKernel(Kernel):
    """A kernel that notes its launches."""

    def __init__(self, kernel: Kernel, name: object, watch: Watch, gpu: Gpu) -> None:
        self.name, self.group = kernel.name, kernel.group
        self._inner, self._what, self._watch, self._gpu = kernel, name, watch, gpu

    def launch(self, items: int, *arguments: Argument, rows: int = 1) -> None:
        """Launch, and note how much of what."""
        trail = self._gpu.device.trail
        before = trail.last
        self._inner.launch(items, *arguments, rows=rows)
        self._watch.launches.append((self._what, items, rows))
        if trail.last is not None and trail.last is not before:
            self._watch.events.append(trail.last)


class WatchedPrograms(Programs):
    """The programs of a backend, with kernels that note their launches."""

    def __init__(self, gpu: Gpu, watch: Watch) -> None:
        self._gpu, self._watch = gpu, watch

    def kernel(self, operator: str, defines: Defines, entry: str | None = None) -> Kernel:
        """See `Programs.kernel`."""
        kernel = self._gpu.programs.kernel(operator, defines, entry)
        name = (operator, entry, tuple(sorted(defines.items())))
        return WatchedKernel(kernel, name, self._watch, self._gpu)


class DeviceRig:
    """A search's hands: see `search.Rig`. Close it to free the tensors."""

    def __init__(self, backend: OpenCLBackend, problem: Problem) -> None:
        """Raises DeviceFailed when the device has no room for the tensors."""
        self._backend = backend
        self._spec = catalog.spec(problem.operator)
        self._types = problem.types
        case = problem.case()
        self._attributes = case.attributes
        self._wanted = ReferenceBackend().run(self._spec, case.inputs, case.attributes)
        self._inputs: dict[str, DeviceTensor] = {}
        self._repeats = 0
        self._gpus: dict[Frozen, tuple[Gpu, Watch]] = {}
        try:
            for port, tensor in case.inputs.items():
                self._inputs[port] = backend.upload(tensor)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Free the tensors."""
        for resident in self._inputs.values():
            self._backend.release(resident)
        self._inputs = {}

    def prepare(self, values: Values) -> object:
        """Build, run once, compare; returns the launches. Raises Refused."""
        watch = self._watch(values)
        self._spoil()
        watch.launches.clear()
        with self._forced(values), _refusing():
            outputs = self._backend.run(self._spec, self._inputs, self._attributes)
            try:
                made = {port: self._backend.download(held) for port, held in outputs.items()}
            finally:
                self._free(outputs)
        launches = tuple(watch.launches)
        _compare(self._spec, made, self._wanted, "of the problem")
        return launches

    def time(self, values: Values) -> float:
        """Seconds of one call, the mean of as many as make a sample long enough."""
        if not self._repeats:
            once = self._sample(values, 1)
            self._repeats = min(max(round(SAMPLE / max(once, 1e-9)), 1), REPEATS)
        return self._sample(values, self._repeats)

    def vet(self, values: Values) -> None:
        """Every case of the operator with tensors of the same kinds; raises Refused."""
        with self._forced(values):
            for case in self._spec.cases(selftest.rng()):
                if self._alike(case):
                    with _refusing():
                        made = selftest.run(self._backend, self._spec, case)
                    wanted = ReferenceBackend().run(self._spec, case.inputs, case.attributes)
                    _compare(self._spec, made, wanted, f"of case {case.name}")

    def _spoil(self) -> None:
        """Leave nonsense in the memory that the outputs will get: it may still hold the right
        answer of the launch before, and a launch that does nothing would pass."""
        for tensor in self._wanted.values():
            array = tensor.values
            nonsense = np.full(array.nbytes, 0xFF, np.uint8).view(array.dtype).reshape(array.shape)
            self._backend.release(self._backend.upload(dense(nonsense)))

    def _sample(self, values: Values, repeats: int) -> float:
        watch = self._watch(values)
        watch.launches.clear()
        watch.events.clear()
        with self._forced(values):
            self._backend.synchronize()
            start = perf_counter()
            for _ in range(repeats):
                self._free(self._backend.run(self._spec, self._inputs, self._attributes))
            self._backend.synchronize()
            passed = perf_counter() - start
        return (watch.seconds or passed) / repeats

    def _alike(self, case: Case) -> bool:
        types = {port: case.inputs[port].type for port in self._types if port in case.inputs}
        return self._backend.supports(self._spec, types) and all(
            (kind.layout, kind.dtype) == (self._types[port].layout, self._types[port].dtype)
            for port, kind in types.items()
        )

    def _watch(self, values: Values) -> Watch:
        return self._gpu(values)[1]

    def _gpu(self, values: Values) -> tuple[Gpu, Watch]:
        key = search.frozen(values)
        if key not in self._gpus:
            start, watch = self._backend.choices.start, Watch()
            programs = WatchedPrograms(start, watch)
            tuning = space.applied(start.tuning, values)
            self._gpus[key] = replace(start, tuning=tuning, programs=programs), watch
        return self._gpus[key]

    @contextmanager
    def _forced(self, values: Values) -> Iterator[None]:
        choices = self._backend.choices
        choices.forced = self._gpu(values)[0]
        try:
            yield
        finally:
            choices.forced = None

    def _free(self, outputs: Mapping[str, DeviceTensor]) -> None:
        for resident in outputs.values():
            self._backend.release(resident)


@contextmanager
def _refusing() -> Iterator[None]:
    """What a device refuses is a reason to leave a configuration alone."""
    try:
        yield
    except DeviceFailed as error:
        raise Refused(f"{type(error).__name__}: {error}"[:SHOWN]) from None


def _compare(spec: OperatorSpec, made: Tensors, wanted: Tensors, where: str) -> None:
    for port, expected in wanted.items():
        if not selftest.matches(spec, made[port], expected):
            raise Refused(f"wrong answer {where}: {port} differs from the reference")
