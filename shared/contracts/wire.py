"""The gRPC wire: message classes and method tables of proto/, kept apart from other libraries.

`wire.binpb` is compiled from proto/ by ops/gen_proto.sh. Its files live in a descriptor pool of
their own, because other clients of the same protocol register the same names in the shared one.
"""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from shared.contracts.errors import InvalidMessage

INFERENCE = "inference.GRPCInferenceService"
JOBS = "ellesmere.v1.Jobs"
__all__ = ["INFERENCE", "JOBS", "POOL", "Rpc", "inference", "jobs", "parse", "rpcs"]
M = TypeVar("M", bound=Message)
_FILES = {"inference": "inference/grpc_service.proto", "jobs": "ellesmere/v1/jobs.proto"}


@dataclass(frozen=True, slots=True)
class Rpc:
    """One method of a service; `path` is how HTTP/2 names it."""

    path: str
    request: type[Message]
    response: type[Message]
    client_streaming: bool
    server_streaming: bool


def _load() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    data = Path(__file__).with_name("wire.binpb").read_bytes()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        pool.Add(file)
    return pool


POOL = _load()

if TYPE_CHECKING:
    from shared.contracts.pb.ellesmere.v1 import jobs_pb2 as jobs
    from shared.contracts.pb.inference import grpc_service_pb2 as inference
else:

    def _classes(path: str) -> SimpleNamespace:
        file = POOL.FindFileByName(path)
        messages = file.message_types_by_name
        classes = {name: message_factory.GetMessageClass(kind) for name, kind in messages.items()}
        enums = file.enum_types_by_name.values()
        values = {value.name: value.number for enum in enums for value in enum.values}
        return SimpleNamespace(**classes, **values)

    inference = _classes(_FILES["inference"])
    jobs = _classes(_FILES["jobs"])


def rpcs(service: str) -> dict[str, Rpc]:
    """The methods of a service by name.

    Raises:
        KeyError: proto/ has no such service.
    """
    methods = POOL.FindServiceByName(service).methods
    return {
        method.name: Rpc(
            path=f"/{service}/{method.name}",
            request=message_factory.GetMessageClass(method.input_type),
            response=message_factory.GetMessageClass(method.output_type),
            client_streaming=method.client_streaming,
            server_streaming=method.server_streaming,
        )
        for method in methods
    }


def parse(kind: type[M], data: bytes) -> M:
    """Parse one message.

    Raises:
        InvalidMessage: the bytes are not a message of that kind.
    """
    try:
        return kind.FromString(data)
    except DecodeError:
        name = kind.DESCRIPTOR.full_name
        raise InvalidMessage(f"{len(data)} bytes do not parse as {name}") from None
