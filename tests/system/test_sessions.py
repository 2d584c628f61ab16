"""A spiking network from a NIR file, streamed through a running stack that loses a worker."""

import asyncio
import io
import json
import os
import signal
from itertools import pairwise
from pathlib import Path

import nats
import nir
import numpy as np
import pytest

from shared.client.client import Client
from shared.contracts import frame, subjects
from shared.contracts.v1.sessions import SessionAnswer, SessionCall, SessionCard, SessionStart
from shared.tensors.dtypes import F32
from shared.tensors.layouts import dense
from tests.system import processes
from tests.system.processes import Running

pytestmark = pytest.mark.system
MODEL, INPUTS, OUTPUTS, STEPS = "spiky", 24, 6, 2000
RNG = np.random.default_rng(3)
X: F32 = (RNG.random((1, STEPS, INPUTS)) < 0.1).astype(np.float32)


def written() -> bytes:
    """A NIR file: one layer of leaky neurons."""
    every = np.ones(OUTPUTS)
    neurons = nir.LIF(
        tau=every * 0.02, r=every * 4, v_leak=every * 0, v_threshold=every, v_reset=every * 0
    )
    nodes = {
        "input": nir.Input(input_type={"input": np.array([INPUTS])}),
        "synapses": nir.Linear(weight=RNG.normal(0.3, 0.6, (OUTPUTS, INPUTS))),
        "neurons": neurons,
        "output": nir.Output(output_type={"output": np.array([OUTPUTS])}),
    }
    edges = list(pairwise(nodes))
    held = io.BytesIO()
    nir.write(held, nir.NIRGraph(nodes=nodes, edges=edges, type_check=False))
    return held.getvalue()


@pytest.fixture(scope="module")
def spiky(stack: Running) -> str:
    async def add() -> None:
        async with Client(stack.grpc) as client:
            await client.add_model(MODEL, written(), format="nir", steps=50)

    asyncio.run(add())
    return MODEL


async def test_stream_is_whole_though_its_worker_is_killed(stack: Running, spiky: str) -> None:
    async with Client(stack.grpc) as client:
        async with client.session(spiky) as quiet:
            whole = [made["train"] async for made in quiet.feed({"x": X}, chunk=500)]
        async with client.session(spiky, "harmed") as harmed:
            made = []
            async for part in harmed.feed({"x": X}, chunk=20):
                made.append(part["train"])
                if len(made) == STEPS // 40:
                    os.kill(await _holder(stack, "default.harmed"), signal.SIGKILL)

    np.testing.assert_array_equal(np.concatenate(made, axis=1), np.concatenate(whole, axis=1))
    assert np.concatenate(whole, axis=1).any()


async def _holder(stack: Running, session: str) -> int:
    """The process that holds a session; a worker's name ends in the number of its process."""
    listener = await nats.connect(stack.nats)
    bucket = await listener.jetstream().key_value("el_sessions")
    card = SessionCard.decode((await bucket.get(session)).value or b"")
    await listener.close()
    workers = stack.running("services.cpu_worker") + stack.running("services.gpu_worker")
    (pid,) = [pid for pid in workers if card.worker.endswith(f"-{pid}")]
    return pid


async def test_plain_nats_request_is_a_step_of_the_session(stack: Running, spiky: str) -> None:
    listener = await nats.connect(stack.nats)
    call = SessionCall(start=SessionStart(model=spiky), end=True, events=True)
    data = frame.encode(call, {"x": dense(X[:, :50])})

    reply = await listener.request(subjects.session("default", "plain"), data, timeout=10)

    answer, outputs = frame.decode(reply.data, SessionAnswer)
    await listener.close()
    async with Client(stack.grpc) as client:
        train = (await client.infer(spiky, {"x": X[:, :50]}))["train"]
    assert (answer.code, answer.steps) == ("", 50)
    row, step, neuron = outputs["train.events"].values.T
    assert train[row, step, neuron].all()
    assert len(row) == train.sum() > 0


def test_command_streams_a_file_and_goes_on_with_the_session(
    stack: Running, spiky: str, tmp_path: Path
) -> None:
    spikes, events, made = tmp_path / "x.npy", tmp_path / "x.csv", tmp_path / "made.npz"
    np.save(spikes, X[0, :60])
    step, neuron = np.nonzero(X[0, 60:100])
    np.savetxt(events, np.stack([step, neuron], axis=1), "%d", ",", header="step,neuron")
    common = ("stream", spiky, "--session", "file", "--json")

    first = processes.command(*common, "--input", str(spikes), "--keep", address=stack.grpc)
    options = ("--input", str(events), "--resume", "--output", str(made))
    second = processes.command(*common, *options, address=stack.grpc)
    third = processes.command(*common, "--input", str(events), "--resume", address=stack.grpc)

    told = [json.loads(line) for line in (first.stdout + second.stdout).splitlines()]
    assert [each["steps"] for each in told] == [[0, 50], [50, 60], [60, 100]]
    assert len(np.load(made)["events"]) == told[-1]["spikes"] > 0
    assert third.returncode == 2
    assert "[EL-1214] no session 'file'" in third.stderr


def test_command_lets_a_layer_learn_or_says_which_may(
    stack: Running, spiky: str, tmp_path: Path
) -> None:
    spikes = tmp_path / "x.npy"
    np.save(spikes, X[0, :60])
    common = ("stream", spiky, "--input", str(spikes), "--a-plus", "0.5", "--json", "--learn")

    learns = processes.command(*common, "neurons", address=stack.grpc)
    nobody = processes.command(*common, "synapses", address=stack.grpc)

    fixed = processes.command("stream", spiky, "--input", str(spikes), "--json", address=stack.grpc)
    assert learns.returncode == 0
    assert learns.stdout != fixed.stdout
    assert "no layer 'synapses' can learn; there are neurons" in nobody.stderr


def test_a_model_that_reads_spikes_is_measured(stack: Running, spiky: str) -> None:
    ended = processes.command("profile", spiky, "--json", address=stack.grpc)

    assert ended.returncode == 0, ended.stderr
    shown = processes.command("model", "show", spiky, "--json", address=stack.grpc)
    manifest = json.loads(shown.stdout)
    assert [port.get("spikes") for port in manifest["inputs"]] == [True]
    assert {one["worker_class"] for one in manifest["variants"][0]["latencies"]} >= {"cpu"}


def test_command_counts_spikes_and_synaptic_operations(
    stack: Running, spiky: str, tmp_path: Path
) -> None:
    spikes = tmp_path / "x.npy"
    np.save(spikes, X[:, :50])

    ended = processes.command(
        "infer", spiky, "--input", str(spikes), "--activity", "--json", address=stack.grpc
    )

    report = json.loads(ended.stdout)["report"]
    (layer,) = report["layers"].values()
    assert report["energy"].keys() & {"joules", "unknown"}  # as this machine's sensors allow
    assert layer["neurons"] == OUTPUTS
    assert layer["operations"] == X[:, :50].sum() * OUTPUTS
    assert layer["dense"] == 50 * INPUTS * OUTPUTS


def test_command_says_what_a_stream_cannot_take(stack: Running, spiky: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("step,neuron\n0,5\n1,99\n")

    ended = processes.command("stream", spiky, "--input", str(wrong), address=stack.grpc)
    unnamed = processes.command(
        "stream", spiky, "--input", str(wrong), "--resume", address=stack.grpc
    )

    assert "[EL-1109]" in ended.stderr
    assert f"neurons 0..{INPUTS - 1}" in ended.stderr
    assert "--resume needs the name of the session" in unnamed.stderr
