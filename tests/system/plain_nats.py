"""A durable job with stock libraries alone: ``plain_nats.py NATS_URL JOB``.

Publishes an `operator` job on its subject and prints the result as JSON; no module of the suite.
"""

import asyncio
import json
import sys

import nats
import numpy as np
from safetensors.numpy import load, save

TENANT = "default"
DENSE = np.array([[0, 2, 0], [0, 0, 0], [1, 0, -3]], np.float32)
X = np.array([[1, 10], [2, 20], [3, 30]], np.float32)


def frame(job: str) -> bytes:
    """The job with its tensors: `weight` in CSR, `x` dense."""
    message = {
        "type": "jobs.submitted.v1",
        "job": job,
        "tenant": TENANT,
        "body": {"kind": "operator", "operator": "spmm_csr"},
    }
    layouts = {"weight": {"layout": "csr", "dtype": "f32", "shape": list(DENSE.shape)}}
    tensors = {
        "weight.indptr": np.array([0, 1, 1, 3], np.int32),
        "weight.indices": np.array([1, 0, 2], np.int32),
        "weight.values": np.array([2, 1, -3], np.float32),
        "x": X,
    }
    metadata = {"message": json.dumps(message), "layouts": json.dumps(layouts)}
    return save(tensors, metadata=metadata)


def message_of(data: bytes) -> dict:
    """The JSON in the metadata of a safetensors file."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["message"])


async def main(url: str, job: str) -> None:
    client = await nats.connect(url)
    stream = client.jetstream()
    announced = await client.subscribe(f"el.v1.done.{TENANT}.{job}")
    headers = {"Nats-Msg-Id": f"{TENANT}.{job}"}
    accepted = await stream.publish(f"el.v1.job.{TENANT}.operator", frame(job), headers=headers)
    await announced.next_msg(timeout=30)
    record = await stream.get_last_msg("EL_RES", f"el.v1.res.{TENANT}.{job}")
    assert record.data is not None
    y = load(record.data)["y"]
    result = {
        "stream": accepted.stream,
        "status": message_of(record.data)["status"],
        "y": y.tolist(),
        "exact": bool(np.array_equal(y, DENSE @ X)),
    }
    sys.stdout.write(json.dumps(result))
    await client.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
