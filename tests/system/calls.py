"""Inference requests made by hand, field by field, over a gRPC channel of nobody's client."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import numpy as np

from shared.contracts import wire
from shared.contracts.wire import inference
from tests.system.networks import INPUTS

RAW = (None, None)  # bytes in, bytes out
LARGE = 64 * 2**20  # [bytes] more than any gateway takes
INFER = f"/{wire.INFERENCE}/ModelInfer"
Request = inference.ModelInferRequest
ONES = np.ones((1, INPUTS), np.float32)


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a call was refused."""

    status: grpc.StatusCode
    code: str  # of the catalogue; empty when the transport refused
    details: str


@dataclass(frozen=True, slots=True)
class Caller:
    """One connection."""

    channel: grpc.aio.Channel

    async def call(
        self,
        path: str,
        content: bytes,
        *,
        metadata: Sequence[tuple[str, str]] = (),
        timeout: float = 20.0,
        compression: grpc.Compression | None = None,
    ) -> bytes | Refusal:
        """Any bytes to any method; what came back, or how it was refused."""
        method = self.channel.unary_unary(path, *RAW)
        try:
            return await method(
                content, metadata=metadata, timeout=timeout, compression=compression
            )
        except grpc.aio.AioRpcError as error:
            return refusal(error)

    async def refused(self, request: Request) -> Refusal:
        """An inference that must not be answered."""
        answer = await self.call(INFER, request.SerializeToString())
        assert isinstance(answer, Refusal)
        return answer

    async def scores(self, request: Request) -> list[float]:
        """An inference that must be."""
        answer = await self.call(INFER, request.SerializeToString())
        assert isinstance(answer, bytes), answer
        reply = inference.ModelInferResponse.FromString(answer)
        return np.frombuffer(reply.raw_output_contents[0], np.float32).tolist()


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Caller]:
    """A channel that sends and takes messages of any size."""
    sizes = [("grpc.max_send_message_length", LARGE), ("grpc.max_receive_message_length", LARGE)]
    async with grpc.aio.insecure_channel(address, options=sizes) as channel:
        yield Caller(channel)


def refusal(error: grpc.aio.AioRpcError) -> Refusal:
    """Status, code and sentence of an error."""
    code = dict(error.trailing_metadata() or ()).get("ellesmere-code", "")
    return Refusal(error.code(), str(code), error.details() or "")


def request(x: np.ndarray = ONES, *, model: str = "classifier", **fields: object) -> Request:
    """A sound request for raw `x`; `fields` replace those of its one input."""
    made = Request(model_name=model, model_version="dense", raw_input_contents=[x.tobytes()])
    made.inputs.add(**({"name": "x", "datatype": "FP32", "shape": x.shape} | fields))
    return made
