"""Our sides of the comparisons on problems small enough for a test; each checks its products."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ops.bench import card, cpu_products, matrices
from ops.bench.matrices import Problem
from shared.contracts.errors import DeviceFailed

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
