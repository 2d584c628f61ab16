"""How contenders take turns, what is kept of it, and how it is shown."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ops.bench import comparison, contender, matrices, modelled, tables, turns
from ops.bench.matrices import Problem
from ops.bench.turns import Side

SIDE = """
import sys
from ops.bench import contender
from ops.bench.contender import Work

def prepare(case):
    if case["kind"] == "broken":
        sys.exit(7)
    return {"sum": Work(lambda: sum(range(case["count"])), 8.0, 2.0)}

contender.serve(prepare, lambda: {"version": "1"})
"""


@pytest.fixture
def side(tmp_path: Path) -> Side:
    script = tmp_path / "side.py"
    script.write_text(SIDE)
    return Side("mine", [sys.executable, str(script)], {})


def test_sides_answer_in_turns_and_results_name_all_that_a_reader_needs(
    side: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "ROUNDS", 2)
    monkeypatch.setattr(turns, "TRIES", 3)
    cases = [("small", {"kind": "sum", "count": 10}), ("large", {"kind": "sum", "count": 1000})]

    found = comparison.run([side], cases, Console(quiet=True))
    comparison.write(found, tmp_path / "found.json")

    held = json.loads((tmp_path / "found.json").read_text())
    assert held["sides"] == {"mine": {"version": "1"}}
    assert {"cpu", "cores", "commit", "date"} <= held["machine"].keys()
    assert list(held["cases"]) == ["small", "large"]
    cell = held["cases"]["small"]["mine/sum"]
    assert (cell["moved"], cell["flops"], cell["crossing"]) == (8.0, 2.0, 0.0)
    assert len(cell["samples"]) <= len(cell["steal"]) <= 3


def test_a_side_that_ends_is_named_with_its_code(side: Side) -> None:
    with (
        turns.running([side]) as (held,),
        pytest.raises(RuntimeError, match="mine has left with 7"),
    ):
        held.ask(do="prepare", case={"kind": "broken"})


def test_a_sample_is_long_enough_for_the_clock_of_steal() -> None:
    calls: list[int] = []

    found = contender.sample(lambda: calls.append(1), None)

    assert found["calls"] == contender.MOST_CALLS
    assert len(calls) == contender.MOST_CALLS + 3  # two that find the count, one that warms up
    assert contender.sample(lambda: calls.append(1), 3)["calls"] == 3


@pytest.mark.parametrize("structure", matrices.STRUCTURES)
def test_matrices_have_the_sparsity_and_structure_they_are_named_for(structure: str) -> None:
    problem = Problem(256, 0.75, 1)

    held = matrices.make(np.random.default_rng(0), problem, structure).toarray() != 0

    if structure == "nm":
        assert (held.reshape(256, 64, 4).sum(2) == 2).all()
    elif structure == "block":
        blocks = held.reshape(16, 16, 16, 16).sum((1, 3))
        assert set(np.unique(blocks)) == {0, 256}
    assert held.mean() == pytest.approx(0.5 if structure == "nm" else 0.25, abs=0.05)


def test_written_matrices_are_read_back(tmp_path: Path) -> None:
    problem = Problem(64, 0.9, 3)
    matrices.write(problem, tmp_path / "case.npz")

    with np.load(tmp_path / "case.npz") as held:
        matrix = matrices.read(held, "uniform")
        product = held["uniform.y"]
        x = held["x"]

    dense = np.zeros((64, 64), np.float32)
    rows = np.repeat(np.arange(64), np.diff(matrix.indptr))
    dense[rows, matrix.indices] = matrix.values
    np.testing.assert_allclose(product, dense @ x, rtol=1e-4, atol=1e-5)


def test_modelled_time_of_a_stream_is_bytes_over_reached_bandwidth_and_launch() -> None:
    # 256 MB at 86, 66 and 40 % of 256 GB/s: 1/0.86, 1/0.66 and 1/0.40 ms; launches 8, 20, 60 µs.
    best, typical, worst = modelled.seconds("gemm_f32", moved=256e6, flops=1.0, crossing=0.0)

    assert best == pytest.approx(1e-3 / 0.86 + 8e-6)
    assert typical == pytest.approx(1e-3 / 0.66 + 20e-6)
    assert worst == pytest.approx(1e-3 / 0.40 + 60e-6)


def test_modelled_arithmetic_is_what_the_compiler_leaves_for_it() -> None:
    rows = json.loads(modelled.SILICON.read_text())["kernels"]
    shares = [r["hot_products"] / r["hot_vector"] for r in rows if r["operator"] == "spmm_block"]

    best, typical, worst = modelled.issued("spmm_block")

    assert (best, worst) == (max(shares), min(shares))
    assert worst < typical < best < 1


@pytest.mark.parametrize("kind", sorted(modelled.EFFICIENCY))
def test_modelled_interval_is_in_order_and_names_its_source(kind: str) -> None:
    best, typical, worst = modelled.seconds(kind, moved=1e7, flops=1e9, crossing=1e5)

    assert 0 < best < typical < worst
    assert modelled.EFFICIENCY[kind].source


def cell(seconds: float | None, **more: float) -> dict[str, object]:
    samples = [] if seconds is None else [seconds]
    work = {"moved": 0.0, "flops": 0.0, "crossing": 0.0} | more
    return {"seconds": seconds, "samples": samples, "steal": [0.0], **work}


MACHINE = {"cpu": "A processor", "cores": 2, "commit": "abc", "date": "2026-01-02T03:04:05"}


def test_sparse_table_divides_the_rival_by_ours_and_dashes_what_is_missing() -> None:
    calls = {
        "mkl/csr": cell(300e-6),
        "numpy/dense": cell(900e-6),
        "ours/csr f32": cell(200e-6),
        "ours/stream of csr f32": cell(150e-6),
        "ours/block f32": cell(None),
    }

    shown = tables.sparse({"machine": MACHINE, "sides": {}, "cases": {"4096 90% 1": calls}})

    times, ratios, shares = (line for line in shown.splitlines() if line.startswith("| 4096"))
    assert times.split(" | ")[1:5] == ["900", "–", "300", "–"]
    assert ratios.split(" | ")[1] == "1.50"  # 300 / 200
    assert ratios.endswith(" – |")
    assert shares.split(" | ")[1] == "75%"  # 150 / 200
    assert "A processor, 2 cores; ; commit abc, 2026-01-02" in shown


def test_kernel_table_keeps_modelled_figures_apart_from_measured_ones() -> None:
    cases = {
        "limits": {
            "opencl/copy": cell(1e-3, moved=8e6),  # 8 GB/s
            "opencl/multiply-adds": cell(1e-3, flops=5e6),  # 5 GFLOP/s
        },
        "sparse 64 90% 1": {
            "opencl/csr f32": cell(2e-3, moved=8e6, flops=1e6, crossing=512.0),
            "opencl/naive csr": cell(6e-3),
            "viennacl/csr": cell(5e-3),
        },
    }

    shown = tables.kernels({"machine": MACHINE, "sides": {}, "cases": cases})

    measured, model = (line for line in shown.splitlines() if line.startswith("| sparse"))
    assert measured == "| sparse 64 90% 1 | csr f32 | 2000 | 3.00 | 2.50 | 50% | 10% |"
    assert model.count(",") == 2
    assert shown.index("Modelled, not measured") > shown.index(measured)
