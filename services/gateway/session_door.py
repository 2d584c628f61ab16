"""The door for sessions on NATS: a request to `el.v1.ses.<tenant>.<session>` is one call."""

import asyncio

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from services.gateway.admission import Admission
from services.gateway.faults import sentence
from services.gateway.limits import Limits
from services.gateway.sessions import Sessions
from shared.bus.port import Bus, Inbound
from shared.contracts import frame, subjects
from shared.contracts.errors import InvalidMessage, InvalidName, SuiteError
from shared.contracts.v1.sessions import SessionAnswer, SessionCall

GROUP = "gateway"  # each call goes to one of them
log = structlog.get_logger()


class SessionDoor:
    """Answers frames with frames."""

    def __init__(self, bus: Bus, sessions: Sessions, admission: Admission, limits: Limits) -> None:
        self._bus, self._sessions, self._admission, self._limits = bus, sessions, admission, limits

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Answer until cancelled."""
        async with anyio.create_task_group() as group:
            taken = await self._bus.subscribe(
                subjects.ALL_SESSIONS, lambda message: self._take(message, group), queue=GROUP
            )
            task_status.started()
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await taken.stop()

    def _take(self, message: Inbound, group: TaskGroup) -> None:
        """Never blocks."""
        if message.reply:
            group.start_soon(self._answer, message)

    async def _answer(self, message: Inbound) -> None:
        try:
            reply = await self._called(message)
        except SuiteError as error:
            told = sentence(error.code, str(error), error.fix)
            reply = frame.encode(SessionAnswer(code=error.code, message=told))
        except Exception as error:  # the edge reports what it cannot name, and says so
            log.error("session.broken", subject=message.subject, exc_info=error)
            reply = frame.encode(SessionAnswer(code=SuiteError.code, message="the gateway failed"))
        try:
            await self._bus.publish(message.reply, reply)
        except SuiteError as error:  # the bus is away; the caller's own deadline tells it
            log.warning("reply.lost", reason=str(error))

    async def _called(self, message: Inbound) -> bytes:
        *_, tenant, name = message.subject.split(".")
        for token in (tenant, name):
            _require_token(token)
        with self._admission.call(tenant, len(message.data)):
            call, tensors = frame.decode(message.data, SessionCall)
            if len(message.data) > self._limits.inline:
                raise InvalidMessage(f"{len(message.data)} bytes, at most {self._limits.inline}")
            deadline = asyncio.get_running_loop().time() + min(call.budget, self._limits.infer)
            answer, outputs = await self._sessions.call(
                tenant, name, call, tensors, deadline=deadline
            )
        return frame.encode(answer, outputs)


def _require_token(token: str) -> None:
    try:
        subjects.token(token)
    except ValueError as error:
        raise InvalidName(str(error)) from None
