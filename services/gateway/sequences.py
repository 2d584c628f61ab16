"""The sequence extension of the inference protocol: calls that carry a `sequence_id` are steps of
a session, with parameters of ours beside `sequence_start` and `sequence_end`."""

import time
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

from services.gateway import signature, translate
from services.gateway.front import Call, token
from services.gateway.limits import Limits
from services.gateway.sessions import Place, Sessions, require_model
from services.gateway.statistics import Statistics
from shared.contracts import packed
from shared.contracts.errors import InvalidMessage, InvalidTensor, SuiteError, TooLarge
from shared.contracts.v1.sessions import Learning, SessionAnswer, SessionCall, SessionStart
from shared.contracts.wire import inference
from shared.network.streamed import EVENTS
from shared.tensors.layouts import Layout, Tensor

PREFIX = "sequence_"
FLAGS = ("restore", "snapshot", "end", "events", "kept")
NUMBERS = ("at", "steps", "rows")
KNOWN = ("id", "start", "ttl", "learning", *FLAGS, *NUMBERS)


def asked(request: inference.ModelInferRequest) -> bool:
    """Whether a request belongs to a sequence; the ids 0 and "" belong to none."""
    return bool(_values(request).get("id"))


class Sequences:
    """Answers requests that belong to a sequence."""

    def __init__(self, sessions: Sessions, statistics: Statistics, limits: Limits) -> None:
        self._sessions, self._statistics, self._limits = sessions, statistics, limits

    async def infer(self, call: Call, request: inference.ModelInferRequest, *, now: float) -> bytes:
        """Answer one request.

        Args:
            now: [s] on the clock of the event loop.

        Raises:
            SuiteError: of the catalogue.
        """
        values, began = _values(request), time.perf_counter()
        name, step = token("sequence_id", str(values["id"])), _step(request, values)
        tensors = self._tensors(request)
        if step.start is None:
            place = await self._sessions.place(call.tenant, name)
            require_model(place, request.model_name, request.model_version)
        else:
            place = await self._sessions.beginning(step.start)
        timeout = translate.number(request, "timeout") * translate.MICRO or self._limits.infer
        deadline = min(call.deadline, now + timeout)
        counted = self._statistics.of(place.model, place.variant)
        try:
            self._require_outputs(place, translate.requested(request), step)
            answer, outputs = await self._sessions.call(
                call.tenant, name, step, tensors, deadline=deadline
            )
            response = _response(request, answer, outputs).SerializeToString()
        except SuiteError:
            counted.fail.add(time.perf_counter() - began)
            raise
        counted.answered(packed.Answer(run=answer.seconds), 1, time.perf_counter() - began)
        return response

    def _require_outputs(self, place: Place, names: Iterable[str], step: SessionCall) -> None:
        """Refuse outputs that the model has not, before a step is done; what is kept between calls
        has names that its worker knows."""
        manifest = self._sessions.manifest(place)
        if manifest is not None and not step.kept:
            signature.check_outputs(manifest, (name.removesuffix(EVENTS) for name in names))

    def _tensors(self, request: inference.ModelInferRequest) -> dict[str, Tensor]:
        found = translate.inputs(request)
        size = sum(len(tensor.body) for tensor in found)
        if size > self._limits.inline:
            raise TooLarge(f"inputs of {size} bytes; at most {self._limits.inline} at once")
        return {
            raw.name: Tensor(
                Layout.DENSE, raw.dtype, raw.shape, {"values": raw.array.reshape(raw.shape)}
            )
            for raw in found
        }


def _values(request: inference.ModelInferRequest) -> dict[str, object]:
    """Parameters of the extension, without their prefix.

    Raises:
        InvalidMessage: one is not known.
    """
    found: dict[str, object] = {}
    for name, parameter in request.parameters.items():
        if not name.startswith(PREFIX):
            continue
        short = name.removeprefix(PREFIX)
        if short not in KNOWN:
            known = ", ".join(PREFIX + each for each in KNOWN)
            raise InvalidMessage(f"no parameter {name[:80]!r}; known: {known}")
        kind = parameter.WhichOneof("parameter_choice")
        found[short] = getattr(parameter, kind) if kind else None
    return found


def _step(request: inference.ModelInferRequest, values: Mapping[str, object]) -> SessionCall:
    """The call that a request asks for."""
    start = None
    try:
        if values.get("start"):
            start = _start(request, values)
        fields = {name: values[name] for name in (*FLAGS, *NUMBERS) if name in values}
        return SessionCall(start=start, **fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        within = ("learning",) if error.title == Learning.__name__ else ()
        where = ".".join(map(str, (*within, *first["loc"])))
        raise InvalidMessage(f"{PREFIX}{where}: {first['msg']}, got {first['input']!r}") from None


def _start(request: inference.ModelInferRequest, values: Mapping[str, object]) -> SessionStart:
    """How a session begins; what learns is told as JSON."""
    given = {"ttl": values["ttl"]} if "ttl" in values else {}
    if "learning" in values:
        given["learning"] = Learning.model_validate_json(str(values["learning"]))
    variant = request.model_version or None
    return SessionStart(model=request.model_name, variant=variant, **given)


def _response(
    request: inference.ModelInferRequest, answer: SessionAnswer, outputs: Mapping[str, Tensor]
) -> inference.ModelInferResponse:
    reply = inference.ModelInferResponse(
        model_name=answer.model, model_version=answer.variant, id=request.id
    )
    wanted = translate.requested(request) or tuple(outputs)
    if unknown := [name for name in wanted if outputs and name not in outputs]:
        raise InvalidTensor(f"no output {unknown[0]!r}; there are {', '.join(outputs)}")
    for name in wanted if outputs else ():
        tensor = outputs[name]
        datatype = translate.NAMES[tensor.dtype]
        reply.outputs.add(name=name, datatype=datatype, shape=tensor.shape)
        reply.raw_output_contents.append(tensor.values.tobytes())
    reply.parameters[f"{PREFIX}id"].CopyFrom(request.parameters[f"{PREFIX}id"])
    for field in ("steps", "snapshot"):
        reply.parameters[PREFIX + field].int64_param = getattr(answer, field)
    reply.parameters[f"{PREFIX}restored"].bool_param = answer.restored
    return reply
