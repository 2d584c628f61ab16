"""What the compressor does with a job: import, compress or export a network, or have it trained."""

from collections.abc import Mapping

from services.compressor import competing, compressing, exporting, importing, training
from shared.bus.port import Bus
from shared.chassis.handler import Outcome, Progress
from shared.contracts.errors import InvalidMessage
from shared.contracts.v1.jobs import CompressBody, ImportBody, JobSubmitted, TrainBody
from shared.tensors.layouts import Tensor


class CompressorHandler:
    """The handler of the class `compressor`."""

    kinds: tuple[str, ...] = ("import", "compress", "train")

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def handle(
        self, job: JobSubmitted, tensors: Mapping[str, Tensor], progress: Progress
    ) -> Outcome:
        """Run one job; raises what the five modules raise."""
        match job.body:
            case ImportBody() as body:
                return await importing.run(self._bus, body, progress)
            case CompressBody(action="export") as body:
                return await exporting.run(self._bus, body, progress)
            case CompressBody() as body:
                return await compressing.run(self._bus, job, body, tensors, progress)
            case TrainBody(method="stdp") as body:
                return await competing.run(self._bus, job, body, tensors, progress)
            case TrainBody() as body:
                return await training.run(self._bus, job, body, tensors, progress)
            case other:
                raise InvalidMessage(f"kind {other.kind!r} is not done here")
