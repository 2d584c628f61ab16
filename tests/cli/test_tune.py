"""`ellesmere tune` around a tuner that does as it is told, and the doctor's report of kernels."""

import fcntl
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import anyio
import pytest
from rich.console import Console

from ops.cli import doctor, tune
from ops.cli.checks import opencl
from ops.cli.checks.finding import Verdict
from ops.cli.main import run
from ops.cli.session import Session
from shared.bus import jetstream
from shared.chassis.settings import BusSettings
from shared.contracts.errors import DeviceBusy, DeviceFailed
from shared.contracts.subjects import Bucket

ROOT = Path(__file__).parents[2]
NOBODY = "127.0.0.1:1"  # a reserved port: the connection is refused at once
GAINED = {
    "operator": "gemm_f32",
    "problem": "1024x1024-n64",
    "shape": "x=dense.f32:6,10",
    "values": {"xrows": [2], "wrows": 8, "aligned": True, "tile_from": None},
    "seconds": 0.001,
    "start_seconds": 0.002,
    "gain": 2.0,
    "samples": 11,
    "complete": True,
    "tried": [],
}
STOOD = GAINED | {"problem": "1024x1024-n1", "values": {}, "gain": 1.0, "complete": False}
SKIPPED = {"operator": "relu", "problem": "1024x1024", "shape": "", "skipped": "no budget"}
ANSWER = {
    "device": "paper",
    "driver": "ink 1",
    "class": "gpu-pocl",
    "key": "abc123",
    "path": "/cache/tuned/abc123.json",
    "results": [GAINED, STOOD, SKIPPED],
    "document": "{}",
}


def tuner(text: str) -> list[str]:
    """A command that stands for the tuner."""
    return [sys.executable, "-c", text]


def printing(answer: object) -> list[str]:
    return tuner(f"print({json.dumps(answer)!r})")


def test_progress_is_passed_on_and_what_a_driver_says_is_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    noisy = "import sys; sys.stderr.write('1 warning generated.\\ntune: 1/2 relu\\n'); print('{}')"

    assert tune.run(Session(), tuner(noisy)) == {}

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == ["1/2 relu"]


def test_an_answer_larger_than_a_pipe_comes_through() -> None:
    answer = tune.run(Session(), tuner("print('{\"a\": \"' + 'x' * 10**6 + '\"}')"))

    assert answer == {"a": "x" * 10**6}


def test_an_error_of_the_tuner_is_our_own() -> None:
    said = {"code": "EL-1305", "message": "lock is held", "fix": "wait"}

    with pytest.raises(DeviceBusy, match="lock is held") as failure:
        tune.run(Session(), printing({"error": said}))

    assert failure.value.fix == "wait"
    assert DeviceBusy.fix != "wait"  # the class keeps its own


def test_a_driver_that_ends_the_tuner_is_told_with_its_last_words() -> None:
    dying = "import os, sys; sys.stderr.write('LLVM ERROR: no\\n'); sys.stderr.flush(); os.abort()"

    with pytest.raises(DeviceFailed, match="with code -6: LLVM ERROR: no"):
        tune.run(Session(), tuner(dying))


def test_json_holds_every_measurement_and_the_table_the_gains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tune, "run", lambda session, command: ANSWER)
    arguments = ["tune", "--address", NOBODY, "--nats-url", "nats://127.0.0.1:1"]

    assert run([*arguments, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert run(arguments) == 0
    lines = capsys.readouterr().out.splitlines()

    assert value["results"] == [GAINED, STOOD, SKIPPED]
    assert (value["key"], value["shared"], value["disturbed_by"]) == ("abc123", False, [])
    words = [" ".join(line.split()) for line in lines]
    chosen = "xrows 2, wrows 8, aligned true, tile_from null"
    assert f"gemm_f32 1024x1024-n64 2.0000 1.0000 ×2.00 {chosen}" in words
    assert "gemm_f32 1024x1024-n1 2.0000 start values, out of time" in words
    assert "relu 1024x1024 skipped: no budget" in words
    assert max(map(len, (line.rstrip() for line in lines))) <= 100


def test_the_tuner_is_asked_for_what_the_options_say(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(tune, "run", lambda session, command: asked.extend(command) or ANSWER)

    run(["tune", "--operator", "relu", "--operator", "add", "--budget-s", "7", "--address", NOBODY])

    assert asked[1:] == ["-m", tune.TUNER, "--operator=relu", "--operator=add", "--budget-s=7.0"]


def test_nothing_measured_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "run", lambda session, command: ANSWER | {"results": [SKIPPED]})

    assert run(["tune", "--address", NOBODY, "--nats-url", "nats://127.0.0.1:1"]) == 1


@pytest.mark.parametrize("words", [["--budget-s", "0"], ["--budget-s", "x"], ["relu"]])
def test_wrong_usage_of_tune_is_code_2(words: list[str]) -> None:
    assert run(["tune", *words]) == 2


def test_a_stack_that_works_meanwhile_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workers = [SimpleNamespace(card=SimpleNamespace(worker_class=name)) for name in ("cpu", "gpu")]
    monkeypatch.setattr(tune, "run", lambda session, command: ANSWER)
    monkeypatch.setattr(
        "ops.cli.remote.call", lambda session, work, seconds: SimpleNamespace(workers=workers)
    )

    assert run(["tune", "--json", "--nats-url", "nats://127.0.0.1:1"]) == 0

    captured = capsys.readouterr()
    assert captured.err == "a stack works meanwhile (cpu, gpu): it disturbs these times\n"
    assert json.loads(captured.out)["disturbed_by"] == ["cpu", "gpu"]


def test_while_another_tunes_the_command_says_so_and_ends_with_3(tmp_path: Path) -> None:
    (tmp_path / "tuned").mkdir()
    with (tmp_path / "tuned" / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ended = subprocess.run(
            [sys.executable, "-m", "ops.cli", "tune", "--address", NOBODY],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "ELLESMERE_CACHE": str(tmp_path)},
            cwd=ROOT,
        )

    assert (ended.returncode, ended.stdout) == (3, "")
    assert "error: [EL-1305]" in ended.stderr
    assert "ELLESMERE_CACHE" in ended.stderr


def test_an_interrupted_command_leaves_no_tuner_behind() -> None:
    child = "import os, sys, time; print('tune:', os.getpid(), file=sys.stderr, flush=True)"
    child = f"{child}; time.sleep(600)"
    script = (
        "import sys; from ops.cli import tune; from ops.cli.session import Session; "
        f"tune.run(Session(), [sys.executable, '-c', {child!r}])"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, text=True, process_group=0
    )
    assert command.stderr is not None
    with command.stderr as told:
        tuner = int(told.readline())

        command.send_signal(signal.SIGINT)
        command.wait(30.0)

    with pytest.raises(ProcessLookupError):
        os.kill(tuner, 0)


@pytest.mark.nats
def test_what_was_found_is_shared_where_a_broker_answers(nats_url: str) -> None:
    assert tune._share(Session(), nats_url, "cli-test", "{}")

    async def stored() -> bytes | None:
        settings = BusSettings(nats_url=nats_url)
        async with jetstream.connect(settings) as bus:
            entry = await bus.get(Bucket.ROUTES, "tuned.cli-test")
            return entry.value if entry else None

    assert anyio.run(stored) == b"{}"


def kernel(name: str, **state: object) -> dict[str, object]:
    plain = {"built": True, "right": True, "reason": None, "tunables": ["group"], "tuned": []}
    return {"name": name, **plain, **state}


KERNELS = [
    kernel("gemm_f32", tuned=[{"gain": 1.31}, {"gain": 1.1}]),
    kernel("relu", tuned=[{"gain": 1.2}]),
    kernel("copy"),
    kernel("transpose", tunables=[]),
    kernel("clip", built=False, right=False, reason="LimitExceeded: 512 items", fix="split"),
    kernel("add", right=False, reason="gives [1.] not [2.] " * 9, fix="update the driver"),
]
FOUND = {
    "platforms": ["Paper"],
    "device": {
        "name": "paper",
        "driver": "ink 1",
        "class": "gpu-paper",
        "memory": 8 * 2**30,
        "limits": {"group": 256, "local_bytes": 32768, "buffer_bytes": 4 * 2**30},
        "doubles": False,
        "half": "vload_half",
    },
    "kernels": KERNELS,
}


def test_the_doctor_names_the_device_its_limits_and_what_is_wrong() -> None:
    findings = {finding.check: finding for finding in opencl.devices(FOUND)}

    assert findings["OpenCL"].seen == "paper (ink 1), 8.0 GiB, class gpu-paper"
    assert findings["limits"].seen == (
        "groups of 256, 32 KiB local memory, buffers of 4.00 GiB, f64 absent, "
        "f16 stored through vload_half"
    )
    assert findings["kernels"].verdict is Verdict.WARN
    assert findings["kernels"].seen == (
        "4 of 6 built with the right answer, 2 tuned; clip (refused), add (wrong); "
        "CPU workers serve alone"
    )
    assert findings["kernels"].fix == "split"


def test_the_doctor_shows_the_state_of_every_kernel_in_100_columns() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(doctor._kernels(KERNELS))

    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    words = [" ".join(line.split()) for line in lines]
    for expected in (
        "gemm_f32 ok yes right tuned for 2 shape classes, ×1.10 to ×1.31",
        "relu ok yes right tuned for 1 shape class, ×1.20",
        "copy ok yes right start values",
        "transpose ok yes right fixed",
        "clip refused no start values",
        "add wrong yes wrong start values",
    ):
        assert expected in words
    assert max(map(len, lines)) <= 100
    assert "LimitExceeded: 512 items" in out.getvalue()


def test_a_probe_that_dies_or_talks_nonsense_is_a_warning_with_its_last_words() -> None:
    for text, seen in (
        ("import os; os.abort()", "code -6: without a word"),
        ("print('hello')", "code 0: without a word"),
        ("print(3)", "the probe answered 3"),
    ):
        with pytest.raises(opencl.NoAnswer, match=seen) as failure:
            opencl.ask(tuner(text))
        (finding,) = opencl.devices(failure.value)
        assert finding.verdict is Verdict.WARN
        assert finding.seen.endswith("CPU workers serve alone")
        assert opencl.kernels(failure.value) == []
