"""One self-describing frame: JSON alone, or safetensors whose metadata carries the JSON."""

from collections.abc import Mapping
from typing import TypeVar

from shared.contracts.errors import InvalidMessage, InvalidTensor
from shared.contracts.message import Message
from shared.tensors import container
from shared.tensors.layouts import Tensor

JSON = "application/json"
SAFETENSORS = "application/x-safetensors"
M = TypeVar("M", bound=Message)


def encode(message: Message, tensors: Mapping[str, Tensor] | None = None) -> bytes:
    """Bytes of a message with its inline tensors."""
    if not tensors:
        return message.encode()
    return container.pack(tensors, {"message": message.encode().decode()})


def message_of(data: bytes, kind: type[M]) -> M:
    """Parse the message alone; tensors are not touched, so this is cheap for a router.

    Raises:
        InvalidMessage: neither JSON nor a safetensors header with a `message`.
    """
    if data[:1] == b"{":
        return kind.decode(data)
    try:
        text = container.metadata(data).get("message")
    except ValueError as error:
        raise InvalidMessage(f"not a frame: {error}") from None
    if text is None:
        raise InvalidMessage("safetensors without the metadata key 'message'")
    return kind.decode(text.encode())


def decode(data: bytes, kind: type[M]) -> tuple[M, dict[str, Tensor]]:
    """Parse message and tensors.

    Raises:
        InvalidMessage: the message does not parse.
        InvalidTensor: the tensors do not.
    """
    message = message_of(data, kind)
    if data[:1] == b"{":
        return message, {}
    try:
        return message, container.unpack(data)
    except ValueError as error:
        raise InvalidTensor(str(error)) from None
