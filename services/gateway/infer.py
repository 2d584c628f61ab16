"""ModelInfer: parse, check, choose, send, answer; one retry elsewhere when a worker is lost."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

from services.gateway import faults, sequences, signature, translate
from services.gateway.faults import Busy
from services.gateway.forms import Body, Form, Forms
from services.gateway.front import Call
from services.gateway.lanes import Lanes, OutOfTime, Reply, Work
from services.gateway.limits import Limits
from services.gateway.metrics import Metrics
from services.gateway.routes import RouteTable, Target
from services.gateway.sequences import Sequences
from services.gateway.statistics import Statistics
from services.gateway.tables import Tables
from shared.contracts import errors, packed, wire
from shared.contracts.errors import (
    DeadlineExceeded,
    DeviceFailed,
    DeviceLost,
    ModelNotReady,
    NoWorker,
    QueueFull,
    SuiteError,
)
from shared.contracts.v1.models import ModelManifest, Variant
from shared.contracts.wire import inference

DEFAULT_PRIORITY = 5  # where the protocol's 0 stands among 1..9
LOST = (
    NoWorker,
    DeadlineExceeded,
    ModelNotReady,
    DeviceFailed,
    DeviceLost,
)  # another worker may do better
CATALOGUE = errors.catalogue()


@dataclass(frozen=True, slots=True)
class _Job:
    """A checked request."""

    form: Form
    bodies: Sequence[Body]
    identity: bytes  # the field of the id, for the response
    deadline: float  # [s] on the clock of the event loop


class Inference:
    """Serves inferences over the interactive lane."""

    def __init__(
        self,
        tables: Tables,
        lanes: Lanes,
        sequences: Sequences,
        statistics: Statistics,
        metrics: Metrics,
        limits: Limits,
    ) -> None:
        self._tables, self._lanes, self._limits = tables, lanes, limits
        self._sequences, self._statistics, self._metrics = sequences, statistics, metrics
        self._clock = asyncio.get_running_loop().time  # kept: asking for it is a system call
        self._decision = metrics.decision.of()
        self._forms = Forms()

    async def model_infer(self, call: Call, data: bytes) -> bytes:
        """Answer one inference, bytes to bytes.

        Raises:
            SuiteError: of the catalogue, whatever is wrong with the request or the workers.
        """
        began = time.perf_counter()
        job = self._familiar(call, data)
        if job is None:
            request = wire.parse(inference.ModelInferRequest, data)
            if sequences.asked(request):
                return await self._sequences.infer(call, request, now=self._clock())
            job = await self._read(call, request, data, began)
        form = job.form
        counted = self._statistics.of(form.manifest.model, form.variant.name)
        try:
            if form.manifest.nan_policy == "reject":
                signature.refuse_non_finite(form.tensors(job.bodies))
            reply = await self._somewhere(job)
            response = form.response(reply.answer, reply.body, job.identity)
        except SuiteError:
            counted.fail.add(time.perf_counter() - began)
            raise
        counted.answered(reply.answer, form.rows, time.perf_counter() - began)
        return response

    async def model_stream_infer(
        self, call: Call, requests: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes]:
        """One answer per request, in order; an error is the answer of its request alone."""
        async for data in requests:
            try:
                found = inference.ModelInferResponse.FromString(await self.model_infer(call, data))
                answer = inference.ModelStreamInferResponse(infer_response=found)
            except SuiteError as error:
                answer = inference.ModelStreamInferResponse(error_message=faults.of(error).details)
            yield answer.SerializeToString()

    def _familiar(self, call: Call, data: bytes) -> _Job | None:
        """A request whose head was checked before, while its model is as it was then."""
        found = self._forms.find(data)
        if found is None:
            return None
        form, parts = found
        if self._tables.table.models.get(form.manifest.model) is not form.manifest:
            return None
        return self._job(call, form, parts.bodies, parts.identity)

    async def _read(
        self, call: Call, request: inference.ModelInferRequest, data: bytes, began: float
    ) -> _Job:
        """Check a request, and remember the form of its head."""
        manifest = await self._tables.model(signature.model_name(request.model_name))
        variant = signature.variant_of(manifest, request.model_version)
        try:
            form, bodies = self._checked(request, manifest, variant)
        except SuiteError:
            failed = self._statistics.of(manifest.model, variant.name).fail
            failed.add(time.perf_counter() - began)
            raise
        self._forms.remember(data, form)
        identity = inference.ModelInferResponse(id=request.id).SerializeToString()
        return self._job(call, form, bodies, identity)

    def _checked(
        self, request: inference.ModelInferRequest, manifest: ModelManifest, variant: Variant
    ) -> tuple[Form, list[Body]]:
        """The form of a request, and its inputs."""
        if not manifest.loaded:
            raise ModelNotReady(f"model {manifest.model!r} is unloaded")
        inputs, outputs = translate.inputs(request), translate.requested(request)
        bodies = [tensor.body for tensor in inputs]
        sizes = tuple(map(len, bodies))
        if sum(sizes) > self._limits.inline:
            most = self._limits.inline
            raise errors.TooLarge(f"inputs of {sum(sizes)} bytes; at most {most} at once")
        rows = signature.check_inputs(manifest, inputs)
        signature.check_outputs(manifest, outputs)
        form = Form(
            manifest=manifest,
            variant=variant,
            heads=tuple(packed.Head(t.name, t.dtype.value, t.shape) for t in inputs),
            dtypes=tuple(tensor.dtype for tensor in inputs),
            sizes=sizes,
            outputs=outputs,
            rows=rows,
            timeout=translate.number(request, "timeout") * translate.MICRO or self._limits.infer,
            priority=int(translate.number(request, "priority")) or DEFAULT_PRIORITY,
        )
        return form, bodies

    def _job(self, call: Call, form: Form, bodies: Sequence[Body], identity: bytes) -> _Job:
        deadline = min(call.deadline, self._clock() + form.timeout)
        return _Job(form, bodies, identity, deadline)

    async def _somewhere(self, job: _Job) -> Reply:
        """Ask workers in order of preference: a full one costs nothing, a lost one the retry."""
        excluded: frozenset[str] = frozenset()
        last: SuiteError | None = None
        lost = 0
        while lost < 2:
            target = self._target(job.form, excluded, last)
            try:
                return _checked_answer(await self._lanes.call(target, self._work(job)))
            except OutOfTime:
                model = job.form.manifest.model
                raise DeadlineExceeded(
                    f"{model!r} did not answer in the time of the call"
                ) from None
            except (QueueFull, *LOST) as error:
                lost += not isinstance(error, QueueFull)
                last = self._noted(target, error)
                excluded |= {target.subject}
        assert last is not None  # the loop ran
        raise last

    def _target(self, form: Form, excluded: frozenset[str], last: SuiteError | None) -> Target:
        """Where to go next.

        Raises:
            SuiteError: the last failure, or the table's when this is the first try.
        """
        table: RouteTable = self._tables.table
        now, began = self._clock(), time.perf_counter()
        try:
            return table.choose(
                form.manifest, form.variant, load=self._lanes.load, now=now, excluded=excluded
            )
        except NoWorker as error:
            group = table.fallback(form.manifest, form.variant, excluded=excluded)
            if group is None or isinstance(last, QueueFull):
                raise last or error from None
            return group
        finally:
            self._decision.add(time.perf_counter() - began)

    def _work(self, job: _Job) -> Work:
        form = job.form
        left = max(job.deadline - self._clock(), 1e-3)
        return Work(
            artifact=form.variant.artifact.sha256,
            heads=form.heads,
            bodies=job.bodies,
            outputs=form.outputs,
            deadline=job.deadline,
            patience=left if left < 2 * self._limits.silent else min(left, self._limits.attempt),
            priority=form.priority,
        )

    def _noted(self, target: Target, error: SuiteError) -> SuiteError:
        """Remember what a failure says about its worker."""
        self._metrics.retries.labels(error.code).inc()
        if type(error) is NoWorker and target.worker:  # the broker says so: nobody listens there
            self._tables.table.drop_card(target.worker)
        return error


def _checked_answer(reply: Reply) -> Reply:
    """The reply, unless its answer is an error.

    Raises:
        SuiteError: the class of the answer's code.
    """
    answer = reply.answer
    if not answer.code:
        return reply
    kind = CATALOGUE.get(answer.code, SuiteError)
    raise Busy(answer.message) if kind is QueueFull else kind(answer.message)
