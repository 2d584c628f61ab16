"""The process that reads an ONNX file: what comes out of it, however it ends."""

import pytest

from services.compressor.importers import sandbox
from shared.contracts.errors import InvalidNetwork, TooLarge, UnsupportedOperator
from shared.network import artifact
from tests.services.onnx_files import W, file, node


async def test_the_sandbox_returns_an_artifact_and_its_coverage() -> None:
    model = file([node("Gemm", ["x", "w"], ["a"]), node("Relu", ["a"], ["y"])], {"w": W})

    converted = await sandbox.convert(model.SerializeToString())

    assert converted.operators == {"Gemm": 1, "Relu": 1}
    steps = artifact.unpack(converted.artifact).steps
    assert [step.operator for step in steps] == ["gemm_f32"]


async def test_the_sandbox_gives_the_same_bytes_each_time() -> None:
    data = file([node("Gemm", ["x", "w"], ["y"])], {"w": W}).SerializeToString()

    assert (await sandbox.convert(data)).artifact == (await sandbox.convert(data)).artifact


@pytest.mark.parametrize("data", [b"", b"\x00", b"garbage" * 100, b"\x08" * 10_000])
async def test_bytes_that_are_no_file_come_back_as_an_error(data: bytes) -> None:
    with pytest.raises(InvalidNetwork):
        await sandbox.convert(data)


async def test_an_unsupported_file_keeps_its_report_on_the_way_out_of_the_sandbox() -> None:
    model = file([node("Conv", ["x", "w"], ["y"], name="stem")], {"w": W})

    with pytest.raises(UnsupportedOperator, match=r"stem \(Conv\)"):
        await sandbox.convert(model.SerializeToString())


async def test_a_parser_that_dies_is_an_invalid_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_CHILD", "tests.services.dying_child")

    with pytest.raises(InvalidNetwork, match="CPU time or memory"):
        await sandbox.convert(b"anything")


async def test_a_file_over_the_limit_is_not_even_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MAX_BYTES", 10)

    with pytest.raises(TooLarge, match="11 bytes"):
        await sandbox.convert(b"x" * 11)
