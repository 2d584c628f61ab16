"""A closed-loop load of stock Open Inference Protocol clients; a process of its own.

``python -m ops.bench.load HOST:PORT MODEL INPUT CONCURRENCY SECONDS`` prints one JSON line.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable

import numpy as np
import tritonclient.grpc.aio as triton

FEATURES = 784


async def _ask(client: triton.InferenceServerClient, model: str, port: str, x: np.ndarray) -> None:
    tensor = triton.InferInput(port, list(x.shape), "FP32")
    tensor.set_data_from_numpy(x)
    await client.infer(model, [tensor])


async def _loop(ask: Callable[[], object], until: float, times: list[float]) -> None:
    while time.perf_counter() < until:
        started = time.perf_counter()
        await ask()  # type: ignore[misc]
        times.append(time.perf_counter() - started)


async def measure(
    address: str, model: str, port: str, concurrency: int, seconds: float
) -> dict[str, object]:
    """Send requests of one row from `concurrency` loops for `seconds`; returns every latency."""
    rng = np.random.default_rng(0)
    async with triton.InferenceServerClient(address) as client:
        rows = [rng.random((1, FEATURES), np.float32) for _ in range(concurrency)]
        await asyncio.gather(*(_ask(client, model, port, x) for x in rows))  # warm-up
        times: list[float] = []
        started = time.perf_counter()
        until = started + seconds
        await asyncio.gather(
            *(_loop(lambda x=x: _ask(client, model, port, x), until, times) for x in rows)
        )
        elapsed = time.perf_counter() - started
    return {"requests": len(times), "seconds": elapsed, "latencies": times}


if __name__ == "__main__":
    address, model, port, concurrency, seconds = sys.argv[1:]
    print(  # noqa: T201 - the parent process reads this line
        json.dumps(asyncio.run(measure(address, model, port, int(concurrency), float(seconds))))
    )
