"""A stock client of the protocol, in a process of its own, against a gateway in this one."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from shared.bus.memory import MemoryBroker
from tests.services.gateway_house import opened

PROGRAM = """
import sys
import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1])
assert client.is_server_live()
assert client.is_server_ready()
assert client.is_model_ready("digits")
assert client.is_model_ready("digits", "int8")
assert client.get_server_metadata().name == "ellesmere"

metadata = client.get_model_metadata("digits")
assert list(metadata.versions) == ["dense", "int8"]
assert metadata.inputs[0].datatype == "FP32"
assert list(metadata.inputs[0].shape) == [-1, 4]

x = np.arange(12, dtype=np.float32).reshape(3, 4)
given = triton.InferInput("x", list(x.shape), "FP32")
given.set_data_from_numpy(x)
wanted = [triton.InferRequestedOutput("top"), triton.InferRequestedOutput("y")]
for version in ("", "int8"):
    result = client.infer("digits", [given], version, outputs=wanted, request_id="7",
                          timeout=5_000_000, priority=1)
    y = result.as_numpy("y")
    assert np.array_equal(y, np.stack([x[:, 0] + x[:, 3], 2 * x[:, 1], 3 * x[:, 2]], axis=1))
    assert np.array_equal(result.as_numpy("top"), y.argmax(axis=1))
    response = result.get_response()
    assert (response.id, response.model_version) == ("7", version or "dense")

answers = []
client.start_stream(lambda result, error: answers.append((result, error)))
client.async_stream_infer("digits", [given], request_id="a")
client.async_stream_infer("nothing", [given], request_id="b")
client.stop_stream()
assert answers[0][0].as_numpy("y").shape == (3, 3)
assert "EL-1201" in str(answers[1][1])

assert client.get_model_config("digits").config.max_batch_size > 1
assert client.get_inference_statistics("digits", "int8").model_stats[0].inference_count == 3
client.unload_model("digits")
assert not client.is_model_ready("digits")
try:
    client.infer("digits", [given])
except InferenceServerException as error:
    assert "UNAVAILABLE" in error.status(), error.status()
    assert "EL-1202" in error.message(), error.message()
else:
    raise AssertionError("an unloaded model answered")
client.load_model("digits")
states = {(m.name, m.version): m.state for m in client.get_model_repository_index().models}
assert states == {("digits", "dense"): "READY", ("digits", "int8"): "READY"}

wrong = triton.InferInput("x", [1, 3], "FP32")
wrong.set_data_from_numpy(np.ones((1, 3), np.float32))
try:
    client.infer("digits", [wrong])
except InferenceServerException as error:
    assert "INVALID_ARGUMENT" in error.status()
    assert "EL-1102" in error.message()
else:
    raise AssertionError("a wrong shape was taken")
text = triton.InferInput("x", [1, 4], "BYTES")
text.set_data_from_numpy(np.array([["a", "b", "c", "d"]], dtype=object))
try:
    client.infer("digits", [text])
except InferenceServerException as error:
    assert "EL-1106" in error.message()
else:
    raise AssertionError("BYTES were taken")
client.close()
print("done")
"""


@pytest.mark.usefixtures("front")
async def test_a_stock_client_is_served(memory: MemoryBroker) -> None:
    async with opened(memory) as house:
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROGRAM,
            house.address,
            cwd=Path(__file__).parents[2],
            env=os.environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(program.communicate(), 60)

    assert (program.returncode, output.decode().splitlines()[-1:]) == (0, ["done"]), output.decode()
