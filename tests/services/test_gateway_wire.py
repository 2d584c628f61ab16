"""The wire: field numbers of the published protocol, a pool of our own, nothing stale."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.message import Message

from shared.contracts import wire
from shared.contracts.errors import InvalidMessage
from shared.contracts.wire import inference, jobs

ROOT = Path(__file__).parents[2]


def text(number: int, value: str | bytes) -> bytes:
    """A field of wire type 2: tag, length, content."""
    raw = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2, len(raw)]) + raw


def number(field: int, value: int) -> bytes:
    """A field of wire type 0 with a value under 128."""
    return bytes([field << 3, value])


def infer_request() -> Message:
    message = inference.ModelInferRequest(model_name="m", model_version="v", id="i")
    message.parameters["p"].int64_param = 3
    message.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    message.outputs.add(name="y")
    message.raw_input_contents.append(b"\1\2")
    return message


INFER_BYTES = (
    text(1, "m")
    + text(2, "v")
    + text(3, "i")
    + text(4, text(1, "p") + text(2, number(2, 3)))
    + text(5, text(1, "x") + text(2, "FP32") + text(3, b"\1\2"))
    + text(6, text(1, "y"))
    + text(7, b"\1\2")
)
NAME_VERSION = text(1, "m") + text(2, "v")
GOLDEN: dict[str, tuple[Message, bytes]] = {
    "ServerLive": (inference.ServerLiveRequest(), b""),
    "ServerReady": (inference.ServerReadyRequest(), b""),
    "ServerMetadata": (inference.ServerMetadataRequest(), b""),
    "ModelReady": (inference.ModelReadyRequest(name="m", version="v"), NAME_VERSION),
    "ModelMetadata": (inference.ModelMetadataRequest(name="m", version="v"), NAME_VERSION),
    "ModelInfer": (infer_request(), INFER_BYTES),
    "ModelStreamInfer": (infer_request(), INFER_BYTES),
    "ModelConfig": (inference.ModelConfigRequest(name="m", version="v"), NAME_VERSION),
    "ModelStatistics": (inference.ModelStatisticsRequest(name="m", version="v"), NAME_VERSION),
    "RepositoryIndex": (
        inference.RepositoryIndexRequest(repository_name="r", ready=True),
        text(1, "r") + number(2, 1),
    ),
    "RepositoryModelLoad": (
        inference.RepositoryModelLoadRequest(repository_name="r", model_name="m"),
        text(1, "r") + text(2, "m"),
    ),
    "RepositoryModelUnload": (
        inference.RepositoryModelUnloadRequest(repository_name="r", model_name="m"),
        text(1, "r") + text(2, "m"),
    ),
    "Submit": (jobs.SubmitRequest(frame=b"{}"), text(1, "{}")),
    "Watch": (jobs.WatchRequest(tenant="t", job="j"), text(1, "t") + text(2, "j")),
    "Result": (jobs.ResultRequest(tenant="t", job="j"), text(1, "t") + text(2, "j")),
    "Cancel": (jobs.CancelRequest(tenant="t", job="j"), text(1, "t") + text(2, "j")),
    "Upload": (jobs.UploadRequest(chunk=b"\0", keep=True), text(1, b"\0") + number(2, 1)),
    "Download": (
        jobs.DownloadRequest(blob=jobs.Blob(sha256="ab", size=5)),
        text(1, text(1, "ab") + number(2, 5)),
    ),
    "DescribeModel": (jobs.DescribeModelRequest(name="m"), text(1, "m")),
    "ListModels": (jobs.ListModelsRequest(), b""),
    "RemoveModel": (jobs.RemoveModelRequest(name="m"), text(1, "m")),
    "Status": (jobs.StatusRequest(), b""),
}


@pytest.mark.parametrize("rpc", GOLDEN)
def test_request_of_every_rpc_has_its_golden_bytes(rpc: str) -> None:
    message, expected = GOLDEN[rpc]

    assert message.SerializeToString(deterministic=True) == expected
    assert type(message).FromString(expected) == message


def test_every_rpc_has_golden_bytes() -> None:
    assert GOLDEN.keys() == wire.rpcs(wire.INFERENCE).keys() | wire.rpcs(wire.JOBS).keys()


def test_response_of_an_inference_has_its_golden_bytes() -> None:
    message = inference.ModelInferResponse(model_name="m", model_version="v", id="i")
    message.outputs.add(name="y", datatype="FP32", shape=[1, 2])
    message.raw_output_contents.append(b"\1")

    expected = text(1, "m") + text(2, "v") + text(3, "i")
    expected += text(5, text(1, "y") + text(2, "FP32") + text(3, b"\1\2")) + text(6, b"\1")
    assert message.SerializeToString() == expected


def test_malformed_bytes_are_an_invalid_message() -> None:
    with pytest.raises(InvalidMessage, match="3 bytes do not parse as inference"):
        wire.parse(inference.ModelInferRequest, b"\xff\xff\xff")


def test_descriptor_set_is_compiled_from_the_sources(tmp_path: Path) -> None:
    out = tmp_path / "wire.binpb"
    files = ["inference/grpc_service.proto", "ellesmere/v1/jobs.proto"]
    command = [sys.executable, "-W", "ignore", "-m", "grpc_tools.protoc", "-I", ROOT / "proto"]
    subprocess.run([*command, f"--descriptor_set_out={out}", *files], check=True, timeout=60)

    assert out.read_bytes() == (ROOT / "shared/contracts/wire.binpb").read_bytes()


BESIDE = """
from tritonclient.grpc import model_config_pb2, service_pb2
from shared.contracts import wire
import shared.client.client

def numbers(kind):
    fields = {field.name: field.number for field in kind.fields}
    inner = {f"{nested.name}.{name}": number for nested in kind.nested_types
             for name, number in numbers(nested).items()}
    return fields | inner

ours = wire.POOL.FindFileByName("inference/grpc_service.proto")
theirs = {**service_pb2.DESCRIPTOR.message_types_by_name,
          **model_config_pb2.DESCRIPTOR.message_types_by_name}
compared = 0
for name, kind in ours.message_types_by_name.items():
    reference = numbers(theirs[name])
    for field, number in numbers(kind).items():
        if (name, field) == ("ModelMetadataResponse", "properties"):
            continue  # of the protocol, unknown to this client
        if name == "ModelMetadataResponse" and field.startswith("PropertiesEntry"):
            continue
        assert reference[field] == number, (name, field, number, reference.get(field))
        compared += 1
types = {v.name: v.number for v in model_config_pb2.DataType.DESCRIPTOR.values}
assert types == {v.name: v.number for v in ours.enum_types_by_name["DataType"].values}
mine = wire.inference.ModelInferRequest(model_name="m", id="i")
assert service_pb2.ModelInferRequest.FromString(mine.SerializeToString()).id == "i"
print(compared)
"""


def test_fields_have_the_numbers_of_a_published_client_in_the_same_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BESIDE],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100
