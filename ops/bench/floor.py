"""What an interactive call cannot be faster than: its round trips and its product, each alone."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np
import tritonclient.grpc.aio as triton

from ops.demo import mlp
from shared.bus import jetstream
from shared.bus.port import Inbound
from shared.chassis.settings import BusSettings

CALLS, WARM_UP = 400, 50
SUBJECT = "bench.echo"


def measure(grpc: str, nats: str, layers: list[mlp.Layer]) -> dict[str, float]:
    """Medians [s] of a gRPC call that does nothing, a NATS request of one row, and the product."""
    row = np.random.default_rng(0).random((1, layers[0].weight.shape[1]), np.float32)
    return {
        "grpc": asyncio.run(_grpc(grpc)),
        "nats": asyncio.run(_nats(nats, row.tobytes())),
        "product": _product(layers, row),
    }


async def _grpc(address: str) -> float:
    async with triton.InferenceServerClient(address) as client:
        return await _median(client.is_server_live)


async def _nats(url: str, data: bytes) -> float:
    """Requester and responder share this process, the broker is another."""
    settings = BusSettings(nats_url=url, worker="bench-asks")
    other = settings.model_copy(update={"worker": "bench-answers"})
    async with jetstream.connect(settings) as bus, jetstream.connect(other) as answering:
        replies: asyncio.Queue[Inbound] = asyncio.Queue()
        subscription = await answering.subscribe(SUBJECT, replies.put_nowait)

        async def answer() -> None:
            while True:
                await answering.publish((await replies.get()).reply, b"0" * 60)

        async with asyncio.TaskGroup() as group:
            echo = group.create_task(answer())
            median = await _median(lambda: bus.request(SUBJECT, data, timeout=5.0))
            echo.cancel()
        await subscription.stop()
        return median


def _product(layers: list[mlp.Layer], row: np.ndarray) -> float:
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        mlp.predict(layers, row)
        times.append(time.perf_counter() - started)
    return float(np.median(times[WARM_UP:]))


async def _median(call: Callable[[], Awaitable[object]]) -> float:
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        await call()
        times.append(time.perf_counter() - started)
    return float(np.median(times[WARM_UP:]))
