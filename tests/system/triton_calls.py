"""The stock tritonclient in a process of its own: ``triton_calls.py ADDRESS MODEL``.

Reads x and the expected scores as .npz from stdin; ends with code 0 when every answer is right.
"""

import io
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tritonclient.grpc as triton

CLIENTS, CALLS = 6, 20


def ask(address: str, model: str, x: np.ndarray, expected: np.ndarray) -> None:
    """One client that sends batches of every size, each checked."""
    with triton.InferenceServerClient(address) as client:
        for call in range(CALLS):
            rows = slice(call, call + 1 + call % 7)
            given = triton.InferInput("x", list(x[rows].shape), "FP32")
            given.set_data_from_numpy(x[rows])
            answer = client.infer(model, [given], request_id=str(call))
            np.testing.assert_allclose(
                answer.as_numpy("scores"), expected[rows], rtol=1e-4, atol=1e-3
            )
            assert answer.get_response().id == str(call)


def main(address: str, model: str) -> None:
    held = np.load(io.BytesIO(sys.stdin.buffer.read()))
    with triton.InferenceServerClient(address) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready(model)
        metadata = client.get_model_metadata(model, as_json=True)
        assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "32"]}]
        names = [entry.name for entry in client.get_model_repository_index().models]
        assert model in names
    with ThreadPoolExecutor(CLIENTS) as clients:
        waiting = [
            clients.submit(ask, address, model, held["x"], held["scores"]) for _ in range(CLIENTS)
        ]
        for answer in waiting:
            answer.result()


if __name__ == "__main__":
    main(*sys.argv[1:])
