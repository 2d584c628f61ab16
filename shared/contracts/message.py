"""The base of every message: frozen, typed, versioned; unknown fields are ignored."""

from typing import Self

import pydantic_core
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.contracts.errors import InvalidMessage


class Value(BaseModel):
    """A frozen part of a message."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Message(Value):
    """A whole message. Subclasses pin `type` to one literal such as ``jobs.submitted.v1``."""

    type: str

    def encode(self) -> bytes:
        """Compact JSON; fields that are None are left out."""
        return self.model_dump_json(exclude_none=True).encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Parse JSON in bounds (depth 200, no NaN, no duplicate meaning).

        Raises:
            InvalidMessage: not JSON, or not this message; names the first offending field.
        """
        try:
            return cls.model_validate(pydantic_core.from_json(data, allow_inf_nan=False))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "message"
            raise InvalidMessage(f"{where}: {first['msg']}") from None
        except ValueError as error:
            raise InvalidMessage(f"not JSON: {error}") from None
