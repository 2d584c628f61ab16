"""How an error looks to a caller: one status, one sentence, one code; never a traceback."""

from dataclasses import dataclass
from enum import IntEnum
from math import ceil

from shared.contracts.errors import Kind, QueueFull, SuiteError

CODE = "ellesmere-code"
PUSHBACK = "grpc-retry-pushback-ms"
RETRY_AFTER = 0.1  # [s] when nothing better is known


class Status(IntEnum):
    """The numbers of gRPC."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15


STATUS = {
    Kind.INVALID: Status.INVALID_ARGUMENT,
    Kind.NOT_FOUND: Status.NOT_FOUND,
    Kind.CONFLICT: Status.ALREADY_EXISTS,
    Kind.DENIED: Status.PERMISSION_DENIED,
    Kind.EXHAUSTED: Status.RESOURCE_EXHAUSTED,
    Kind.UNAVAILABLE: Status.UNAVAILABLE,
    Kind.DEADLINE: Status.DEADLINE_EXCEEDED,
    Kind.CANCELLED: Status.CANCELLED,
    Kind.UNSUPPORTED: Status.UNIMPLEMENTED,
    Kind.INTERNAL: Status.INTERNAL,
    Kind.DATA_LOSS: Status.DATA_LOSS,
}


class Busy(QueueFull):
    """No room here now, and an estimate of when there will be."""

    def __init__(self, message: str, *, retry_after: float = RETRY_AFTER) -> None:
        self.retry_after = retry_after  # [s]
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Fault:
    """A status with its details and trailing metadata."""

    status: Status
    code: str
    details: str
    trailing: tuple[tuple[str, str], ...]


def of(error: SuiteError) -> Fault:
    """What a caller sees of an error of the catalogue."""
    trailing = [(CODE, error.code)]
    if isinstance(error, QueueFull):
        wait = error.retry_after if isinstance(error, Busy) else RETRY_AFTER
        trailing.append((PUSHBACK, str(max(1, ceil(wait * 1000)))))
    details = sentence(error.code, str(error), error.fix)
    return Fault(STATUS[error.kind], error.code, details, tuple(trailing))


def unexpected() -> Fault:
    """What a caller sees of a mistake of ours: that there was one."""
    return of(SuiteError("the gateway failed on this call; nothing of it was kept"))


def sentence(code: str, message: str, fix: str) -> str:
    """The text of an error, as everywhere in the suite."""
    return f"[{code}] {message}; fix: {fix}"
