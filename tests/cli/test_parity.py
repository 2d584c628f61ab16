"""`ellesmere model parity` on files as a person has them."""

import json
from pathlib import Path

import pytest

from ops.cli.main import run
from tests.services.nir_files import affine, chain, lif


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.nir"
    path.write_bytes(chain(affine(12, 5), lif(5)))
    return path


def test_a_node_is_a_row(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model", "parity", str(file), "--steps", "20"]) == 0

    head, row = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["node", "type", "neurons", "spikes"]
    assert row.split()[:3] == ["n1", "LIF", "5"]


def test_the_rule_of_other_simulators_is_told_apart_from_the_equations(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    errors = []
    for rule in ("exact", "euler"):
        assert run(["model", "parity", str(file), "--rule", rule, "--dt", "0.002", "--json"]) == 0
        (node,) = json.loads(capsys.readouterr().out)["nodes"]
        assert (node["node"], node["kind"], node["neurons"]) == ("n1", "LIF", 5)
        errors.append(node["membrane"])

    assert errors[0] < 1e-3 < errors[1]


def test_a_file_that_is_none_is_an_error_with_its_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "net.nir"
    wrong.write_bytes(b"\x89HDF and no more")

    assert run(["model", "parity", str(wrong)]) != 0
    assert run(["model", "parity", str(tmp_path / "none.nir")]) != 0

    first, _, second, _ = capsys.readouterr().err.splitlines()
    assert first.startswith("error: [EL-")
    assert second.startswith("error: [EL-")
    assert "none.nir" in second
