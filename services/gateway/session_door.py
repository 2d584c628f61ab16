"""The door for sessions on NATS: a request to `el.v1.ses.<tenant>.<session>` is one call."""

import asyncio

import anyio
import structlog
from anyio.abc import TaskGroup, TaskStatus

from services.gateway import front
from services.gateway.admission import Admission
from services.gateway.faults import sentence
from services.gateway.limits import Limits
from services.gateway.sessions import Sessions
from shared.bus.port import Bus, Inbound
from shared.contracts import frame, subjects
from shared.contracts.errors import SuiteError, TooLarge
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
        """Answer one request; whatever it ends in is a frame."""
        try:
            await self._bus.publish(message.reply, await self._called(message))
        except SuiteError as error:
            await self._refuse(message, error)
        except Exception as error:  # the edge reports what it cannot name, and says so
            log.error("session.broken", subject=message.subject, exc_info=error)
            await self._refuse(message, SuiteError("the gateway failed on this call"))

    async def _refuse(self, message: Inbound, error: SuiteError) -> None:
        told = sentence(error.code, str(error), error.fix)
        try:
            reply = frame.encode(SessionAnswer(code=error.code, message=told))
            await self._bus.publish(message.reply, reply)
        except SuiteError as lost:  # the bus is away; the caller's own deadline tells it
            log.warning("reply.lost", reason=str(lost))

    async def _called(self, message: Inbound) -> bytes:
        *_, tenant, name = message.subject.split(".")
        front.token("tenant", tenant), front.token("session", name)
        size, most = len(message.data), self._limits.inline
        if size > most:
            raise TooLarge(f"a call of {size} bytes; at most {most} at once")
        with self._admission.call(tenant, size):
            call, tensors = frame.decode(message.data, SessionCall)
            deadline = asyncio.get_running_loop().time() + min(call.budget, self._limits.infer)
            answer, outputs = await self._sessions.call(
                tenant, name, call, tensors, deadline=deadline
            )
        return frame.encode(answer, outputs)
