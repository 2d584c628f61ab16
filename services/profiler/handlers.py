"""Jobs of kind `profile`: the device of a class, or a model on classes."""

from collections.abc import Mapping

from services.profiler import devices, networks
from services.profiler.figures import Figures
from services.profiler.networks import Failed, Wanted
from services.profiler.workbench import Workbench
from shared.chassis.handler import Outcome, Progress
from shared.contracts.errors import InvalidMessage, NoWorker
from shared.contracts.v1.jobs import JobSubmitted, ProfileBody
from shared.tensors.layouts import Tensor


class ProfileHandler:
    """See chassis.handler.Handler."""

    kinds: tuple[str, ...] = ("profile",)

    def __init__(self, workbench: Workbench) -> None:
        self._workbench = workbench

    async def handle(
        self, job: JobSubmitted, tensors: Mapping[str, Tensor], progress: Progress
    ) -> Outcome:
        """Measure what the body names; the report holds the profile or the table of figures.

        Raises:
            InvalidMessage: neither class nor model is named.
            NoWorker: no worker that computes is there.
            SuiteError: what the measuring jobs failed with.
        """
        workbench = self._workbench.at(job.priority)
        match job.body:
            case ProfileBody(model=str() as model) as body:
                return await self._model(workbench, model, body, progress)
            case ProfileBody(worker_class=str() as worker_class):
                await self._require(worker_class)
                found = await devices.measure(workbench, worker_class, progress)
                return Outcome(report={"profile": found.model_dump(mode="json")})
            case ProfileBody():
                raise InvalidMessage("a profile job names a model, a worker class, or both")
            case other:
                raise InvalidMessage(f"kind {other.kind!r} is not done here")

    async def _model(
        self, workbench: Workbench, model: str, body: ProfileBody, progress: Progress
    ) -> Outcome:
        if body.worker_class is not None:
            await self._require(body.worker_class)
        wanted = Wanted(model, body.variant, body.worker_class, missing_only=body.missing_only)
        found, failed = await networks.measure(workbench, wanted, progress)
        return Outcome(report=_report(model, found, failed))

    async def _require(self, worker_class: str) -> None:
        live = await self._workbench.classes()
        if worker_class not in live:
            known = ", ".join(live) or "none"
            raise NoWorker(f"no live worker of class {worker_class} computes; live: {known}")


def _report(model: str, found: list[Figures], failed: list[Failed]) -> dict[str, object]:
    return {
        "model": model,
        "rows": [
            {"variant": one.variant, **latency.model_dump(mode="json")}
            for one in found
            for latency in one.latencies
        ],
        "steps": {
            f"{one.variant}@{one.worker_class}": [
                step.model_dump(mode="json") for step in one.steps
            ]
            for one in found
        },
        "failed": [
            {
                "variant": one.variant,
                "worker_class": one.worker_class,
                "code": one.error.code,
                "message": str(one.error),
            }
            for one in failed
        ],
    }
