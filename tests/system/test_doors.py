"""Doors of a running stack: our client, stock Triton client, plain NATS, the command line."""

import io
import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from ops.demo import digits
from shared.client.client import Client
from shared.contracts.errors import InvalidTensor, ModelNotReady, UnknownModel
from tests.system import networks, processes
from tests.system.networks import Classifier
from tests.system.processes import Running

pytestmark = pytest.mark.system
HERE = Path(__file__).parent


async def test_client_gets_what_numpy_computes(
    stack: Running, model: str, network: Classifier
) -> None:
    x, _ = networks.samples(network, np.random.default_rng(1))

    async with Client(stack.grpc) as client:
        outputs = await client.infer(model, {"x": x})

    np.testing.assert_allclose(outputs["scores"], network.scores(x), rtol=1e-4, atol=1e-3)


def test_stock_triton_clients_get_right_answers_all_at_once(
    stack: Running, model: str, network: Classifier
) -> None:
    x, _ = networks.samples(network, np.random.default_rng(2))
    held = io.BytesIO()
    np.savez(held, x=x, scores=network.scores(x))

    ended = subprocess.run(
        [sys.executable, HERE / "triton_calls.py", stack.grpc, model],
        input=held.getvalue(),
        capture_output=True,
        timeout=90,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr.decode()


def test_plain_nats_publishes_a_job_and_reads_the_exact_result(stack: Running) -> None:
    ended = subprocess.run(
        [sys.executable, HERE / "plain_nats.py", stack.nats, "plain-1"],
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr.decode()
    assert json.loads(ended.stdout) == {
        "stream": "EL_JOBS",
        "status": "succeeded",
        # [0 2 0; 0 0 0; 1 0 -3] times [1 10; 2 20; 3 30]
        "y": [[4.0, 40.0], [0.0, 0.0], [-8.0, -80.0]],
        "exact": True,
    }


async def test_unknown_model_is_named_with_those_that_exist(stack: Running, model: str) -> None:
    async with Client(stack.grpc) as client:
        with pytest.raises(UnknownModel, match=model):
            await client.infer("nosuch", {"x": np.zeros((1, 32), np.float32)})


async def test_bad_tensors_are_refused_and_the_next_call_works(stack: Running, model: str) -> None:
    async with Client(stack.grpc) as client:
        with pytest.raises(InvalidTensor, match="33"):
            await client.infer(model, {"x": np.zeros((1, 33), np.float32)})
        with pytest.raises(InvalidTensor, match="FP64"):
            await client.infer(model, {"x": np.zeros((1, 32), np.float64)})
        with pytest.raises(InvalidTensor, match="pixels"):
            await client.infer(model, {"pixels": np.zeros((1, 32), np.float32)})

        outputs = await client.infer(model, {"x": np.zeros((1, 32), np.float32)})

    assert outputs["scores"].tolist() == [[0.0, 0.0, 0.0, 0.0]]


async def test_unloaded_model_is_not_ready_until_it_is_loaded(
    stack: Running, network: Classifier
) -> None:
    x = np.ones((1, 32), np.float32)

    async with Client(stack.grpc) as client:
        await client.add_model("sleeper", network.onnx())
        await client.unload("sleeper")
        with pytest.raises(ModelNotReady):
            await client.infer("sleeper", {"x": x})
        await client.load("sleeper")
        outputs = await client.infer("sleeper", {"x": x})

    np.testing.assert_allclose(outputs["scores"], network.scores(x), rtol=1e-4, atol=1e-3)


def test_metrics_and_health_answer_over_http(stack: Running) -> None:
    with urllib.request.urlopen(f"http://{stack.ready['metrics']}/metrics", timeout=5) as reply:
        text = reply.read().decode()
    with urllib.request.urlopen(f"http://{stack.ready['metrics']}/healthz", timeout=5) as reply:
        assert reply.status == 200

    assert "ellesmere_" in text


def test_command_line_adds_runs_shows_and_removes_a_model(
    stack: Running, network: Classifier, tmp_path: Path
) -> None:
    (tmp_path / "net.onnx").write_bytes(network.onnx())
    x = np.ones((2, 32), np.float32)
    np.save(tmp_path / "x.npy", x)

    def call(*arguments: str) -> dict[str, object]:
        ended = processes.command(*arguments, "--json", address=stack.grpc)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    added = call("model", "add", "typed", str(tmp_path / "net.onnx"))
    call("infer", "typed", "--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npz"))
    listed = call("model", "list")
    call("model", "remove", "typed")
    left = call("model", "list")

    assert added["model"] == "typed"
    scores = np.load(tmp_path / "y.npz")["scores"]
    np.testing.assert_allclose(scores, network.scores(x), rtol=1e-4, atol=1e-3)
    assert "typed" in {item["model"] for item in listed["models"]}
    assert "typed" not in {item["model"] for item in left["models"]}


def test_compression_is_accepted_when_it_holds_and_refused_when_it_does_not(
    stack: Running, model: str, network: Classifier, tmp_path: Path
) -> None:
    x, labels = networks.samples(network, np.random.default_rng(3))
    held = tmp_path / "held.npz"
    np.savez(held, x=x, labels=labels)

    def verdict(*options: str) -> dict[str, object]:
        arguments = ("compress", model, "--data", str(held), "--objective", "size", "--json")
        ended = processes.command(*arguments, *options, address=stack.grpc)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)["report"]["verdict"]

    kept = verdict("--method", "int8", "--max-drop", "0.1")
    refused = verdict("--method", "prune_csr", "--sparsity", "0.98", "--max-drop", "0.01")
    laid = verdict("--method", "prune", "--values", "f16", "--max-drop", "1.0")
    shown = processes.command("model", "show", model, "--json", address=stack.grpc)

    assert kept["accepted"]
    assert kept["bytes"] < kept["baseline_bytes"] / 3
    assert not refused["accepted"]
    assert refused["accuracy"] < refused["baseline_accuracy"] - 0.01
    assert laid["accepted"]
    assert laid["bytes"] < laid["baseline_bytes"] / 4
    variants = [item["name"] for item in json.loads(shown.stdout)["variants"]]
    assert variants == ["dense", "int8", "pruned90-f16"]


def test_a_file_is_searched_reported_repeated_and_trained_from_the_command_line(
    stack: Running, network: Classifier, tmp_path: Path
) -> None:
    x, labels = networks.samples(network, np.random.default_rng(3))
    rows, file, found = tmp_path / "rows.npz", tmp_path / "searched.onnx", tmp_path / "found"
    np.savez(rows, x=x, labels=labels, train_x=x, train_labels=labels)
    file.write_bytes(network.onnx())

    def call(*arguments: str) -> dict[str, object]:
        ended = processes.command(*arguments, "--data", str(rows), "--json", address=stack.grpc)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)["report"]

    size = ("--objective", "size", "--max-drop", "1.0")
    searched = call("compress", str(file), "--budget", "size=0.5", *size, "--report", str(found))
    again = ("--recipe", str(found / "recipe.json"), "--as", "again")
    repeated = call("compress", "searched", *again, *size)
    trained = call("train", "searched", "--as", "rigl", "--sparse", "rigl", "--every", "5")
    measured = call("compress", "searched", "--action", "benchmark")
    processes.command("model", "remove", "searched", address=stack.grpc)

    assert searched["accepted"], searched
    assert repeated["artifact"] == searched["artifact"]
    written = {path.name for path in found.iterdir()}
    assert written == {"report.json", "recipe.json", "index.html", "pareto.png"}
    assert (found / "pareto.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert trained["variant"] == "rigl"
    names = {(row["variant"], row["worker_class"]) for row in measured["benchmark"]}
    assert {("dense", "cpu"), ("again", "cpu"), ("rigl", "cpu")} <= names


def test_digits_are_learned_without_labels_and_served_from_the_command_line(
    stack: Running, tmp_path: Path
) -> None:
    data, rows, scores = digits.load(), tmp_path / "rows.npz", tmp_path / "scores.npz"
    held = {"x": data.held_x[:60], "labels": data.held_labels[:60]}
    np.savez(rows, **held, train_x=data.x[:300], train_labels=data.labels[:300])
    np.save(tmp_path / "x.npy", held["x"])
    method = ("--method", "stdp", "--neurons", "40", "--steps", "30", "--epochs", "1")

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return processes.command(*arguments, address=stack.grpc)

    trained = call("train", "eyes", "--data", str(rows), *method, "--json")
    answered = call("infer", "eyes", "--input", str(tmp_path / "x.npy"), "--output", str(scores))
    again = call("train", "eyes", "--data", str(rows), *method)
    call("model", "remove", "eyes")

    assert trained.returncode == 0, trained.stderr
    assert answered.returncode == 0, answered.stderr
    report = json.loads(trained.stdout)["report"]
    right = (np.load(scores)["scores"].argmax(axis=1) == held["labels"]).mean()
    assert right == report["accuracy"] > 0.4  # chance is 0.1
    assert again.returncode == 1
    assert "[EL-1213] model 'eyes' began with 'trained', which stays" in again.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--budget", "speed=3"), "--budget knows size, latency and accuracy"),
        (("--budget", "size"), "is not size=, latency= or accuracy=NUMBER"),
        (("--method", "int8", "--recipe", "nothing.json"), "nothing.json"),
    ],
)
def test_an_option_that_says_nothing_leaves_with_code_2_or_names_the_file(
    stack: Running, model: str, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    np.savez(tmp_path / "rows.npz", x=np.zeros((2, 32), np.float32), labels=np.zeros(2, np.int64))
    given = ("compress", model, "--data", str(tmp_path / "rows.npz"), *options)

    ended = processes.command(*given, address=stack.grpc)

    assert ended.returncode == 2
    assert told in ended.stderr.replace("\n", " ")


def test_failed_job_leaves_with_code_1_and_its_reason(stack: Running, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", a=np.ones(3, np.float32), b=np.ones(4, np.float32))

    ended = processes.command(
        *("submit", "--operator", "add", "--tensors", str(tmp_path / "bad.npz"), "--wait"),
        address=stack.grpc,
    )

    assert ended.returncode == 1
    assert "error: [EL-1102]" in ended.stderr
    assert "hint:" in ended.stderr


def test_interrupted_wait_leaves_with_code_130_and_the_job_can_be_cancelled(stack: Running) -> None:
    pinned = ("submit", "--operator", "relu", "--class", "nobody", "--job-id", "waits")
    assert processes.command(*pinned, address=stack.grpc).returncode == 0
    watching = subprocess.Popen(
        [*processes.COMMAND, "job", "watch", "waits", "--address", stack.grpc],
        stderr=subprocess.PIPE,
        cwd=processes.ROOT,
    )
    assert watching.stderr is not None
    assert watching.stderr.readline() == b"accepted\n"

    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=20)
    cancelled = processes.command("job", "cancel", "waits", "--json", address=stack.grpc)
    result = processes.command("job", "result", "waits", address=stack.grpc)

    assert watching.returncode == 130
    assert said.endswith(b"interrupted\n")
    assert json.loads(cancelled.stdout)["status"] == "cancelled"
    assert result.returncode == 1
    assert "error: [EL-1205]" in result.stderr


def test_status_and_doctor_see_the_stack(stack: Running) -> None:
    status = json.loads(processes.command("status", "--json", address=stack.grpc).stdout)
    doctor = json.loads(processes.command("doctor", "--json", address=stack.grpc).stdout)

    pids = {worker["card"]["pid"] for worker in status["workers"]}
    assert pids.intersection(stack.running("services.cpu_worker"))
    seen = {check["check"]: check["verdict"] for check in doctor["checks"]}
    assert seen["stack"] == "ok"
