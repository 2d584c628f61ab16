"""Our sides of the comparisons on problems small enough for a test; each checks its products."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ops.bench import (
    card,
    cpu_products,
    matrices,
    quantized_products,
    quantized_table,
    weights,
)
from ops.bench.matrices import Problem
from shared.contracts.errors import DeviceFailed
from shared.quantization import affine
from shared.quantization.scheme import INT8_PER_CHANNEL, int4_per_group

POCL = "Portable Computing Language"


@pytest.fixture
def case(tmp_path: Path) -> dict[str, object]:
    path = tmp_path / "case.npz"
    matrices.write(Problem(64, 0.75, 5), path)
    return {"kind": "sparse", "file": str(path)}


@pytest.fixture
def broken(case: dict[str, object]) -> dict[str, object]:
    """The same problem with a wrong product."""
    path = Path(str(case["file"]))
    with np.load(path) as held:
        arrays = dict(held)
    np.savez(path, **{**arrays, "uniform.y": arrays["uniform.y"] + 1, "block.y": arrays["x"]})
    return case


def test_cpu_side_has_every_value_type_and_the_loop_that_reads_as_much(
    case: dict[str, object],
) -> None:
    works = cpu_products.prepare(case)

    mine = {name for name in works if not name.startswith("stream")}
    assert mine == {
        *("csr f32", "csr f32 short", "csr f16", "csr i8", "block f32", "block f16", "block i8")
    }
    for name in mine:
        assert works[f"stream of {name}"].moved == works[name].moved > 0
        works[name].call()
        works[f"stream of {name}"].call()
    stored = works["csr f32"].flops / (2 * 5)  # two flops for each of five columns
    assert works["csr f32"].moved - works["csr f32 short"].moved == 2 * stored  # bytes of indices


@pytest.mark.opencl
def test_opencl_side_holds_every_kernel_and_its_rivals_against_the_product(
    case: dict[str, object],
) -> None:
    side = _side()

    sparse = side.prepare(case)
    layouts = {name.split()[0] for name in sparse if "naive" not in name}
    assert layouts == {"csr", "csc", "sell", "bitmask", "block", "nm"}
    assert {"naive csr", "naive sell", "naive bitmask", "naive block", "naive nm"} < sparse.keys()
    dense = side.prepare({"kind": "dense", "rows": 3, "outputs": 64, "inputs": 64})
    assert {"gemm_f32", "gemm_i8", "gemm_i4", "naive gemm_i4"} <= dense.keys()
    assert side.prepare({"kind": "limits", "elements": 4096})["multiply-adds"].flops > 0


@pytest.mark.opencl
def test_a_wrong_product_is_not_timed(broken: dict[str, object]) -> None:
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        _side().prepare(broken)


def test_without_a_driver_of_a_card_nothing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "FOLDERS", (str(tmp_path),))
    monkeypatch.delenv("OCL_ICD_VENDORS", raising=False)

    assert card.main(Console(quiet=True)) == card.NO_CARD


def _side():  # type: ignore[no-untyped-def]  # its module needs pyopencl
    opencl = pytest.importorskip("ops.bench.opencl_products", exc_type=ImportError)
    try:
        return opencl.Side(POCL)
    except DeviceFailed as error:
        pytest.skip(f"the kernels' side needs PoCL: {error}")


def test_quantized_side_checks_every_product_and_reads_as_much_beside_it() -> None:
    works = quantized_products.Ours().prepare({"size": 64, "rows": 5})

    mine = {name for name in works if not name.startswith("stream")}
    assert {"gemm_i8", "gemm_i4", "gemm_i4 x 8"} <= mine <= set(quantized_table.OURS)
    for name in mine:
        assert works[f"stream of {name}"].moved == works[name].moved > 64 * 64 / 2
        assert works[name].flops == 2 * 64 * 64 * 5
        works[name].call()
        works[f"stream of {name}"].call()


def test_codes_of_the_rivals_are_those_of_our_quantizer() -> None:
    values = weights.values(64)

    for scheme, bits, group in ((INT8_PER_CHANNEL, 8, None), (int4_per_group(32), 4, 32)):
        found, scale = weights.codes(values, bits, group)
        wanted = affine.quantize(values, scheme)
        np.testing.assert_array_equal(found, affine.codes(wanted))
        np.testing.assert_allclose(scale, wanted.parts["scale"], rtol=1e-6)


def test_quantized_table_says_where_we_lose_and_what_was_not_measured() -> None:
    def calls(**seconds: float | None) -> dict[str, dict[str, object]]:
        held = {"numpy/f32": 3e-3, "ours/gemm_i8": 1e-3, "ours/stream of gemm_i8": 5e-4} | seconds
        return {name: {"seconds": value, "samples": [value]} for name, value in held.items()}

    machine = {"cpu": "a processor", "cores": 2, "commit": "abc", "date": "2026-11-26"}
    cases = {"64 1": calls(), "64 8": calls(**{"onnxruntime/f32": 5e-4, "numpy/f32": None})}

    text = quantized_table.whole({"machine": machine, "sides": {}, "cases": cases})

    assert "| 64 1 | 1000 (500) |" in text
    assert "| 64 1 | 3.00 | – |" in text  # 3 ms over 1 ms; ONNX Runtime was not there
    assert "| 64 8 | – | 0.50 |" in text
    assert "gemm_i4" not in text
