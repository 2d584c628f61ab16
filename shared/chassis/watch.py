"""What a worker's loops ask about its device: may it be used, and is this result to be checked."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from shared.chassis.crosscheck import Crosscheck
from shared.chassis.fitness import Fitness
from shared.network.execute import Loaded
from shared.tensors.layouts import Tensor


@dataclass(frozen=True, slots=True)
class Watch:
    """A fitness that anybody may change, and a check of results if the device needs one."""

    fitness: Fitness = field(default_factory=Fitness)
    crosscheck: Crosscheck | None = None

    def offer(
        self,
        artifact: str,
        loaded: Loaded,
        inputs: Mapping[str, Tensor],
        outputs: Mapping[str, Tensor],
    ) -> "Future[str] | None":
        """See `Crosscheck.offer`."""
        if self.crosscheck is None:
            return None
        return self.crosscheck.offer(artifact, loaded, inputs, outputs)
