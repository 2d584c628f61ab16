"""The command line without a stack: usage, errors, exit codes, JSON."""

import json
import os
import pickle
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from ops.cli import bodies, failures
from ops.cli.main import COMMANDS, GROUPS, run
from ops.cli.submit import _attribute
from ops.cli.train import _activity
from shared.contracts import errors
from shared.contracts.errors import InvalidUsage, Kind, SuiteError

NOBODY = "127.0.0.1:1"  # a reserved port: the connection is refused at once
ROOT = Path(__file__).parents[2]
EVERY = [
    *([name] for name in COMMANDS),
    *([group, word] for group, (_, words) in GROUPS.items() for word in words),
]


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_explains_itself_and_takes_json(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*words, "--help"]) == 0

    shown = capsys.readouterr().out
    assert "--json" in shown
    assert "--address" in shown
    assert "--debug" in shown


@pytest.mark.parametrize("word", ["add", "export", "parity"])
def test_help_tells_the_unit_of_a_step(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Typer takes words in square brackets for markup and leaves them out."""
    assert run(["model", word, "--help"]) == 0

    assert "seconds that a step" in capsys.readouterr().out.lower()


@pytest.mark.parametrize(
    "words",
    [
        ["nosuch"],
        ["up", "--ports", "some"],
        ["up", "--cpu-workers", "-1"],
        ["infer", "digits"],
        ["model", "add", "digits"],
        ["model", "add", "eyes", "net.nir", "--dt", "0"],
        ["model", "add", "eyes", "net.pt"],
        ["model", "parity", "net.nir", "--dt", "nan"],
        ["stream", "eyes", "--input", "x.npy", "--resume"],
        ["stream", "eyes", "--input", "x.npy", "--keep"],
        ["stream", "eyes", "--input", "x.npy", "--session", "s", "--resume", "--learn", "lif1"],
        ["stream", "eyes", "--input", "x.npy", "--learn", "lif1", "--tau", "0"],
        ["stream", "eyes", "--input", "x.npy", "--learn", "lif1", "--a-plus", "nan"],
        ["model", "export", "eyes", "--output", "net.nir", "--dt=-0.001"],
        ["model", "export", "eyes", "--output", "net.xyz"],
        ["profile"],
        ["submit", "--operator", "relu", "--attr", "no-equals-sign"],
        ["submit"],
        ["submit", "--kind", "infer"],
        ["submit", "--kind", "dance"],
        ["status", "--address", "gateway"],
        ["status", "--address", "gateway:99999"],
        ["status", "--address", "http://127.0.0.1:8001"],
        ["submit", "--operator", "relu", "--within", "-1"],
        ["train", "digits", "--data", "rows.npz", "--activity", "1.5"],
        ["train", "digits", "--data", "rows.npz", "--activity-weight", "0"],
        ["train", "eyes", "--data", "rows.npz", "--method", "dance"],
        ["train", "eyes", "--data", "rows.npz", "--method", "stdp", "--neurons", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_error_with_a_hint_and_code_2(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(words) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    first, second = captured.err.splitlines()
    assert first.startswith("error: [EL-1100] ")
    assert second.startswith("hint:  ")


def test_no_stack_is_code_3_and_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--address", NOBODY]) == 3

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: [EL-1209] no gateway answers at {NOBODY}")
    assert "`ellesmere up`" in captured.err


def test_address_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ELLESMERE_ADDRESS", NOBODY)

    assert run(["model", "list"]) == 3

    assert NOBODY in capsys.readouterr().err


def test_traceback_is_shown_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    run(["status", "--address", NOBODY])
    assert "Traceback" not in capsys.readouterr().err

    run(["status", "--address", NOBODY, "--debug"])
    assert "Traceback" in capsys.readouterr().err


def test_pickle_is_refused_unread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return Path.write_text, (tmp_path / "sprung", "")  # type: ignore[return-value]  # the trap

    (tmp_path / "x.npy").write_bytes(pickle.dumps(Trap()))

    assert run(["infer", "digits", "--input", str(tmp_path / "x.npy"), "--address", NOBODY]) == 2

    assert "pickle" in capsys.readouterr().err
    assert not (tmp_path / "sprung").exists()


def test_bad_model_name_is_refused_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["model", "add", "../etc", str(tmp_path / "net.onnx"), "--address", NOBODY]) == 2

    assert "error: [EL-1103]" in capsys.readouterr().err


def test_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model", "add", "digits", "/nosuch.onnx", "--address", NOBODY]) == 2

    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: [EL-1109] /nosuch.onnx: No such file or directory"
    assert second == "hint:  check the path and who may use it"


@pytest.mark.parametrize("option", ["--job-id", "--class", "--tenant"])
def test_name_that_no_subject_carries_is_refused_with_its_value(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["submit", "--operator", "relu", option, "../x", "--address", NOBODY]) == 2

    assert "'../x' must match" in capsys.readouterr().err.splitlines()[0]


def test_wrong_value_in_the_environment_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ELLESMERE_SLOTS", "many")

    assert run(["up", "--ports", "auto", "--data", str(tmp_path / "data")]) == 2

    assert capsys.readouterr().err.startswith("error: [EL-1100] ELLESMERE_SLOTS='many': ")
    assert not (tmp_path / "data").exists()


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0

    assert capsys.readouterr().out == f"ellesmere {metadata.version('ellesmere')}\n"


def test_compress_data_without_labels_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "held.npz", x=np.ones((2, 3), np.float32))

    assert run(["compress", "digits", "--data", str(tmp_path / "held.npz")]) == 2

    assert "missing: labels" in capsys.readouterr().err


def test_job_file_that_does_not_fit_names_the_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.json").write_text('{"kind": "operator", "operator": "add", "repeat": 0}')

    assert run(["submit", str(tmp_path / "job.json"), "--address", NOBODY]) == 2

    assert "operator.repeat" in capsys.readouterr().err


def test_attributes_are_json_where_they_can_be() -> None:
    assert _attribute("low=-1.5") == ("low", -1.5)
    assert _attribute("batch_first=true") == ("batch_first", True)
    assert _attribute("shape=[0, -1]") == ("shape", [0, -1])
    assert _attribute("activation=relu") == ("activation", "relu")


def test_unknown_kind_of_job_is_refused() -> None:
    with pytest.raises(InvalidUsage, match="kind"):
        bodies.checked({"kind": "dance"})


def test_unknown_stage_of_a_recipe_is_refused_with_its_place_and_those_there_are() -> None:
    recipe = {"stages": [{"stage": "spike", "steps": 8}, {"stage": "spke"}]}

    with pytest.raises(InvalidUsage, match=r"no stage 'spke' in .*stages\.1; known: .*, spike,"):
        bodies.checked({"kind": "compress", "model": "digits", "recipe": recipe})


def test_field_that_does_not_fit_is_told_with_its_value() -> None:
    with pytest.raises(InvalidUsage, match=r"train\.rate: .* greater than 0, got -1"):
        bodies.checked({"kind": "train", "model": "digits", "rate": -1})


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_error_has_an_exit_code(kind: Kind) -> None:
    assert failures.EXIT_CODES[kind] in (1, 2, 3, 4, 5)


@pytest.mark.parametrize("error", errors.catalogue().values(), ids=lambda cls: cls.code)
def test_every_error_has_one_shape(
    error: type[SuiteError], capsys: pytest.CaptureFixture[str]
) -> None:
    nested = ExceptionGroup("tasks", [error("what happened")])

    code = failures.report(nested, debug=False)

    assert code == failures.EXIT_CODES[error.kind]
    expected = f"error: [{error.code}] what happened\nhint:  {error.fix}\n"
    assert capsys.readouterr().err == expected


def test_interruption_is_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert failures.report(KeyboardInterrupt(), debug=False) == 130

    assert capsys.readouterr().err == "interrupted\n"


def test_unexpected_error_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert failures.report(ZeroDivisionError("division by zero"), debug=False) == 1

    assert "error: [EL-1000] ZeroDivisionError: division by zero" in capsys.readouterr().err


def test_start_up_imports_nothing_heavy() -> None:
    code = "import sys, ops.cli.main as m; m.build(); print(*sys.modules)"

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    heavy = {"numpy", "scipy", "grpc", "pydantic", "anyio", "rich.console", "matplotlib"}
    assert heavy & set(ended.stdout.split()) == set()


def test_no_color_leaves_no_escape_codes() -> None:
    environment = {**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "", "COLUMNS": "120"}

    ended = subprocess.run(
        [sys.executable, "-m", "ops.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=ROOT,
    )

    assert "\x1b[" not in ended.stdout
    assert "doctor" in ended.stdout


def test_doctor_without_a_linker_names_the_package_and_goes_on(tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "ops.cli", "doctor", "--json", "--address", NOBODY),
            *("--data", str(tmp_path), "--nats-url", "nats://127.0.0.1:1"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": str(tmp_path)},
        cwd=ROOT,
    )

    assert ended.returncode == 0, ended.stderr
    checks = {check["check"]: check for check in json.loads(ended.stdout)["checks"]}
    assert checks["python"]["verdict"] == "ok"
    assert checks["OpenCL"]["verdict"] == "warn"
    assert checks["OpenCL"]["fix"] == "apt-get install binutils"
    assert "CPU workers serve alone" in checks["OpenCL"]["seen"]
    assert checks["stack"]["verdict"] == "warn"
    assert "spmm_csr" in checks["operators"]["seen"]


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ((None, None, False), None),
        ((0.02, None, False), {"target": 0.02}),
        ((0.0, 50.0, False), {"target": 0.0, "weight": 50.0}),
        ((None, 50.0, True), {"weight": 50.0, "outputs": True}),
    ],
)
def test_a_cost_of_spikes_is_asked_for_by_any_of_its_options(
    given: tuple[float | None, float | None, bool], asked: dict[str, object] | None
) -> None:
    target, weight, outputs = given

    assert _activity(target, weight, outputs=outputs) == asked
    bodies.checked({"kind": "train", "model": "spiky", "activity": asked})
