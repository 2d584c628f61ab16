"""Which tunables a call is launched with: the start values, or those tuned for its shape class."""

from collections.abc import Iterable
from dataclasses import replace

from services.gpu_worker.launch.call import Gpu
from services.gpu_worker.tuned import space
from services.gpu_worker.tuned.entry import Entry
from shared.operators.spec import Attributes, Types


class Choices:
    """Looks up what launchers may use, by operator and shape class."""

    def __init__(self, gpu: Gpu) -> None:
        self.start = gpu
        self.forced: Gpu | None = None  # what every call gets while something is measured
        self.entries: tuple[Entry, ...] = ()
        self._tuned: dict[str, dict[str, Gpu]] = {}

    def adopt(self, entries: Iterable[Entry]) -> None:
        """Use these entries from now on, and no others."""
        self.entries = tuple(entries)
        self._tuned = {}
        for entry in self.entries:
            tuning = space.applied(self.start.tuning, entry.values)
            of_operator = self._tuned.setdefault(entry.operator, {})
            of_operator[entry.shape] = replace(self.start, tuning=tuning)

    def of(self, operator: str, types: Types, attributes: Attributes) -> Gpu:
        """What a call is launched with, by the types of its inputs and its complete attributes."""
        if self.forced is not None:
            return self.forced
        tuned = self._tuned.get(operator)
        if tuned is None:
            return self.start
        shape = space.of(operator).shape_class(types, attributes)
        return tuned.get(shape, self.start)
