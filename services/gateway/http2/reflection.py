"""Server reflection, v1alpha and v1, around the library's servicer; the two differ in a name."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Final

from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from services.gateway.front import Call, Methods
from shared.contracts import wire

ALPHA: Final = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name
NAMES: Final = (ALPHA, ALPHA.replace("v1alpha", "v1"))
METHOD: Final = "ServerReflectionInfo"


class Reflection:
    """Describes services."""

    def __init__(self, names: Iterable[str], files: Iterable[bytes]) -> None:
        """`names` are the services that are listed, `files` the descriptors of all of them."""
        pool = descriptor_pool.DescriptorPool()
        for file in (*files, reflection_pb2.DESCRIPTOR.serialized_pb, _v1()):
            pool.AddSerializedFile(file)
        self._servicer = ReflectionServicer((*names, *NAMES), pool=pool)  # type: ignore[no-untyped-call]  # library

    @property
    def methods(self) -> Methods:
        """The table of both services."""
        return Methods({}, {f"/{name}/{METHOD}": self.info for name in NAMES})

    async def info(self, _call: Call, requests: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """One answer to each question."""
        asked = (
            wire.parse(reflection_pb2.ServerReflectionRequest, data) async for data in requests
        )
        async for answer in self._servicer.ServerReflectionInfo(asked, None):
            yield answer.SerializeToString()


def _v1() -> bytes:
    """The file of v1: the library has only v1alpha, whose messages are the same."""
    held = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(held)
    text = text_format.MessageToString(held).replace("v1alpha", "v1")
    return text_format.Parse(text, FileDescriptorProto()).SerializeToString()
