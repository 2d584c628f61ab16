"""The door without a transport: a call is a method, its metadata and bytes; so is its answer.

Nothing behind this file knows gRPC, so that another front end can stand before it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from math import inf

from shared.contracts import subjects
from shared.contracts.errors import InvalidName

TENANT = "ellesmere-tenant"
DEFAULT = "default"  # who asks without a name


def token(what: str, text: str) -> str:
    """Return `text` when it may be one token of a subject.

    Raises:
        InvalidName: it cannot; says of what.
    """
    try:
        return subjects.token(text)
    except ValueError as error:
        raise InvalidName(f"{what} {error}") from None


@dataclass(frozen=True, slots=True)
class Call:
    """What came with the bytes of a request."""

    method: str  # /package.Service/Method
    metadata: Mapping[str, str] = field(default_factory=dict)
    deadline: float = inf  # [s] on the clock of the event loop

    @property
    def tenant(self) -> str:
        """Who asks; `default` unless the metadata names a tenant.

        Raises:
            InvalidName: the name cannot be a subject token.
        """
        name = self.metadata.get(TENANT)
        return DEFAULT if name is None else token("tenant", name)


Unary = Callable[[Call, bytes], Awaitable[bytes]]
Stream = Callable[[Call, AsyncIterator[bytes]], AsyncGenerator[bytes]]


@dataclass(frozen=True, slots=True)
class Methods:
    """Every method that is served, by its path."""

    unary: Mapping[str, Unary]
    streams: Mapping[str, Stream]

    @property
    def paths(self) -> set[str]:
        """All of them."""
        return self.unary.keys() | self.streams.keys()

    def __or__(self, other: "Methods") -> "Methods":
        """Both together."""
        return Methods({**self.unary, **other.unary}, {**self.streams, **other.streams})
