"""ModelInfer: parse, check, choose, send, answer; one retry elsewhere when a worker is lost."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from math import prod

from services.gateway import faults, signature, translate
from services.gateway.faults import Busy
from services.gateway.front import Call
from services.gateway.lanes import Lanes, Reply, Work
from services.gateway.limits import Limits
from services.gateway.metrics import Metrics
from services.gateway.routes import RouteTable, Target
from services.gateway.statistics import Statistics
from services.gateway.tables import Tables
from services.gateway.translate import RawTensor
from shared.contracts import errors, wire
from shared.contracts.errors import (
    DeadlineExceeded,
    DeviceFailed,
    InvalidMessage,
    ModelNotReady,
    NoWorker,
    QueueFull,
    SuiteError,
)
from shared.contracts.v1.models import ModelManifest, Variant
from shared.contracts.wire import inference
from shared.tensors.dtypes import Dtype

MICRO = 1e-6
DEFAULT_PRIORITY = 5  # where the protocol's 0 stands among 1..9
LOST = (NoWorker, DeadlineExceeded, ModelNotReady, DeviceFailed)  # another worker may do better
CATALOGUE = errors.catalogue()


@dataclass(frozen=True, slots=True)
class _Job:
    """A checked request."""

    manifest: ModelManifest
    variant: Variant
    inputs: list[RawTensor]
    outputs: tuple[str, ...]
    rows: int
    deadline: float  # [s] on the clock of the event loop
    priority: int


class Inference:
    """Serves inferences over the interactive lane."""

    def __init__(
        self, tables: Tables, lanes: Lanes, statistics: Statistics, metrics: Metrics, limits: Limits
    ) -> None:
        self._tables, self._lanes, self._limits = tables, lanes, limits
        self._statistics, self._metrics = statistics, metrics

    async def model_infer(self, call: Call, data: bytes) -> bytes:
        """The unary call, bytes to bytes."""
        request = wire.parse(inference.ModelInferRequest, data)
        return (await self.infer(call, request)).SerializeToString()

    async def model_stream_infer(
        self, call: Call, requests: AsyncIterator[bytes]
    ) -> AsyncGenerator[bytes]:
        """One answer per request, in order; an error is the answer of its request alone."""
        async for data in requests:
            try:
                request = wire.parse(inference.ModelInferRequest, data)
                answer = inference.ModelStreamInferResponse(
                    infer_response=await self.infer(call, request)
                )
            except SuiteError as error:
                answer = inference.ModelStreamInferResponse(error_message=faults.of(error).details)
            yield answer.SerializeToString()

    async def infer(
        self, call: Call, request: inference.ModelInferRequest
    ) -> inference.ModelInferResponse:
        """Answer one inference.

        Raises:
            SuiteError: of the catalogue, whatever is wrong with the request or the workers.
        """
        manifest = await self._tables.model(signature.model_name(request.model_name))
        variant = signature.variant_of(manifest, request.model_version)
        counted = self._statistics.of(manifest.model, variant.name)
        began = time.perf_counter()
        try:
            job = self._checked(call, request, manifest, variant)
            reply = await self._in_time(job)
            outputs = _outputs(job, reply)
        except SuiteError:
            counted.fail.add(time.perf_counter() - began)
            raise
        counted.success.add(time.perf_counter() - began)
        counted.queue.add(reply.answer.queued)
        counted.run.add(reply.answer.run)
        counted.rows += job.rows
        counted.products += job.rows / max(reply.answer.batch, job.rows)
        counted.last = time.time()
        return translate.response(request, variant.name, outputs)

    def _checked(
        self,
        call: Call,
        request: inference.ModelInferRequest,
        manifest: ModelManifest,
        variant: Variant,
    ) -> _Job:
        if not manifest.loaded:
            raise ModelNotReady(f"model {manifest.model!r} is unloaded")
        inputs, outputs = translate.inputs(request), translate.requested(request)
        size = sum(len(tensor.body) for tensor in inputs)
        if size > self._limits.inline:
            raise errors.TooLarge(f"inputs of {size} bytes; at most {self._limits.inline} at once")
        rows = signature.check_inputs(manifest, inputs)
        signature.check_outputs(manifest, outputs)
        now = asyncio.get_running_loop().time()
        timeout = _number(request, "timeout") * MICRO or self._limits.infer
        deadline = min(call.deadline, now + timeout)
        priority = int(_number(request, "priority")) or DEFAULT_PRIORITY
        return _Job(manifest, variant, inputs, outputs, rows, deadline, priority)

    async def _in_time(self, job: _Job) -> Reply:
        try:
            async with asyncio.timeout_at(job.deadline):
                return await self._somewhere(job)
        except TimeoutError:
            raise DeadlineExceeded(
                f"model {job.manifest.model!r} did not answer in the time of the call"
            ) from None

    async def _somewhere(self, job: _Job) -> Reply:
        """Ask workers in order of preference: a full one costs nothing, a lost one the retry."""
        excluded: frozenset[str] = frozenset()
        last: SuiteError | None = None
        lost = 0
        while lost < 2:
            target = self._target(job, excluded, last)
            try:
                return _checked_answer(await self._lanes.call(target, self._work(job, target)))
            except (QueueFull, *LOST) as error:
                lost += not isinstance(error, QueueFull)
                last = self._noted(target, error)
                excluded |= {target.subject}
        assert last is not None  # the loop ran
        raise last

    def _target(self, job: _Job, excluded: frozenset[str], last: SuiteError | None) -> Target:
        """Where to go next.

        Raises:
            SuiteError: the last failure, or the table's when this is the first try.
        """
        table: RouteTable = self._tables.table
        now, began = asyncio.get_running_loop().time(), time.perf_counter()
        try:
            return table.choose(
                job.manifest, job.variant, load=self._lanes.load, now=now, excluded=excluded
            )
        except NoWorker as error:
            group = table.fallback(job.manifest, job.variant, excluded=excluded)
            if group is None or isinstance(last, QueueFull):
                raise last or error from None
            return group
        finally:
            self._metrics.decision.observe(time.perf_counter() - began)

    def _work(self, job: _Job, target: Target) -> Work:
        left = max(job.deadline - asyncio.get_running_loop().time(), 1e-3)
        return Work(
            artifact=job.variant.artifact.sha256,
            inputs=job.inputs,
            outputs=job.outputs,
            deadline=job.deadline,
            patience=left if left < 2 * self._limits.silent else min(left, self._limits.attempt),
            priority=job.priority,
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


def _outputs(job: _Job, reply: Reply) -> list[RawTensor]:
    """The tensors of an answer, checked: this many bytes, these names, as many rows as were sent.

    Raises:
        SuiteError: they are not what was asked for.
    """
    found, offset = [], 0
    for head in reply.answer.outputs:
        dtype = Dtype(head.dtype)
        end = offset + prod(head.shape) * dtype.itemsize
        found.append(RawTensor(head.name, dtype, head.shape, reply.body[offset:end]))
        offset = end
    by_name = {tensor.name: tensor for tensor in found}
    ports = {port.name: port for port in job.manifest.outputs}
    wanted = job.outputs or tuple(ports)
    complete = offset == len(reply.body) and all(
        name in by_name and _rows_fit(ports[name].shape, by_name[name].shape, job.rows)
        for name in wanted
    )
    if not complete:
        got = {tensor.name: list(tensor.shape) for tensor in found}
        raise SuiteError(f"worker {reply.answer.worker} answered {got} for {job.rows} rows")
    return [by_name[name] for name in wanted]


def _rows_fit(port: tuple[int, ...], shape: tuple[int, ...], rows: int) -> bool:
    return not port or port[0] != signature.BATCH or shape[:1] == (rows,)


def _number(request: inference.ModelInferRequest, name: str) -> int:
    """A whole parameter of a request; 0 when it is absent.

    Raises:
        InvalidMessage: it is no whole number, or negative.
    """
    if name not in request.parameters:
        return 0
    parameter = request.parameters[name]
    kind = parameter.WhichOneof("parameter_choice")
    value = parameter.uint64_param if kind == "uint64_param" else parameter.int64_param
    if kind not in ("int64_param", "uint64_param") or value < 0:
        raise InvalidMessage(f"parameter {name!r} must be a whole number from 0, got {kind}")
    return value
