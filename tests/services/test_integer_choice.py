"""Who multiplies bytes: ONNX Runtime where it is there, right and faster; ours otherwise."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from services.cpu_worker import engine
from services.cpu_worker.engine import Engine
from services.cpu_worker.integer import choice, onnx_model, onnx_product
from services.cpu_worker.integer.choice import ChosenNibbles, ChosenOctets, Trials
from services.cpu_worker.integer.weight import Summing
from shared.quantization import affine
from shared.quantization.scheme import INT8_PER_CHANNEL, int4_per_group
from shared.tensors.dtypes import F32, I8, I32
from shared.tensors.layouts import Tensor

ROOT = Path(__file__).parents[2]
SIDE = 256  # the smallest weight that is worth a session


@pytest.fixture
def weight(rng: np.random.Generator) -> Tensor:
    return affine.quantize(rng.standard_normal((SIDE, SIDE), dtype=np.float32), INT8_PER_CHANNEL)


@pytest.fixture
def x(rng: np.random.Generator) -> I8:
    return rng.integers(-128, 128, (8, SIDE), dtype=np.int8)


@pytest.fixture
def wanted(weight: Tensor, x: I8) -> I32:
    return x.astype(np.int32) @ affine.codes(weight).astype(np.int32).T


class Stub:
    """A session that answers right, or what it is told to."""

    def __init__(self, weight: Tensor, off: int = 0) -> None:
        self.codes, self.off, self.calls = affine.codes(weight).astype(np.int32), off, 0

    def multiply(self, x: I8) -> I32:
        self.calls += 1
        return x.astype(np.int32) @ self.codes.T + self.off


def chosen(weight: Tensor, held: Engine) -> ChosenOctets:
    made = held.quantized(weight)
    assert isinstance(made, ChosenOctets)
    return made


def with_session(monkeypatch: pytest.MonkeyPatch, stub: object, times: dict[bool, float]) -> None:
    """Let trials find this session, and these times of it (True) and of ours (False)."""
    monkeypatch.setattr(onnx_product, "of_octets", lambda codes, *, threads: stub)
    monkeypatch.setattr(choice, "_timed", lambda multiply, x: times[multiply.__self__ is stub])


@pytest.mark.parametrize("n", [1, 4, 33])
@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (130, 64)])
def test_a_session_gives_the_exact_sums(
    n: int, shape: tuple[int, int], rng: np.random.Generator
) -> None:
    pytest.importorskip("onnxruntime")
    codes: I8 = rng.integers(-128, 128, shape, dtype=np.int8)
    x: I8 = rng.integers(-128, 128, (n, shape[1]), dtype=np.int8)

    found = onnx_product.of_octets(codes, threads=1).multiply(x)

    np.testing.assert_array_equal(found, x.astype(np.int32) @ codes.astype(np.int32).T)


@pytest.mark.parametrize("group", [16, 32, 64, 128, 256])
@pytest.mark.parametrize("n", [1, 16, 33])
def test_a_session_multiplies_four_bits(n: int, group: int, rng: np.random.Generator) -> None:
    pytest.importorskip("onnxruntime")
    values: F32 = rng.standard_normal((40, 512), dtype=np.float32) / 16
    weight = affine.quantize(values, int4_per_group(group))
    codes, scale = weight.parts["codes"], weight.parts["scale"]
    x: F32 = rng.standard_normal((n, 512), dtype=np.float32)

    found = onnx_product.of_nibbles(codes, scale, threads=1).multiply(x)  # type: ignore[arg-type]

    wanted = x.astype(np.float64) @ affine.dequantize(weight).T.astype(np.float64)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_faster_one_multiplies_from_the_first_trial_on(
    weight: Tensor, x: I8, wanted: I32, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = Stub(weight)
    with_session(monkeypatch, stub, {True: 1.0, False: 2.0})
    made = chosen(weight, Engine(trials=Trials()))
    made.sums(x)
    tried = stub.calls

    found = made.sums(x)

    assert stub.calls == tried + 1
    np.testing.assert_array_equal(found, wanted)


def test_one_that_is_not_clearly_faster_is_not_kept(
    weight: Tensor, x: I8, wanted: I32, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = Stub(weight)
    with_session(monkeypatch, stub, {True: 0.97, False: 1.0})
    made = chosen(weight, Engine(trials=Trials()))
    made.sums(x)
    tried = stub.calls

    found = made.sums(x)

    assert stub.calls == tried
    assert made.rival.session is None
    np.testing.assert_array_equal(found, wanted)


def test_a_trial_answers_for_other_weights_of_its_class(
    weight: Tensor, x: I8, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Engine(trials=Trials())
    with_session(monkeypatch, Stub(weight), {True: 2.0, False: 1.0})
    chosen(weight, held).sums(x)
    monkeypatch.setattr(onnx_product, "of_octets", None)  # a second trial would call it

    chosen(weight, held).sums(np.concatenate([x, x[:7]]))  # 15 rows, four bits as 8 rows

    assert list(held.trials.wins.values()) == [False]


def test_one_row_is_never_worth_a_session(
    weight: Tensor, x: I8, wanted: I32, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_product, "of_octets", None)
    made = chosen(weight, Engine(trials=Trials()))

    np.testing.assert_array_equal(made.sums(x[:1]), wanted[:1])


def test_a_library_whose_sums_are_not_exact_is_out(
    weight: Tensor, x: I8, wanted: I32, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Engine(trials=Trials())
    with_session(monkeypatch, Stub(weight, off=1), {True: 1.0, False: 2.0})

    found = chosen(weight, held).sums(x)

    np.testing.assert_array_equal(found, wanted)
    assert held.trials.absent == "its products are wrong on this processor"


def test_a_library_that_fails_is_out_and_the_card_says_why(
    weight: Tensor, x: I8, wanted: I32, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Engine(trials=Trials())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # an import that fails

    found = chosen(weight, held).sums(x)

    np.testing.assert_array_equal(found, wanted)
    assert "import of onnxruntime halted" in held.libraries


def test_a_worker_without_the_library_says_so_and_multiplies(
    weight: Tensor, x: I8, wanted: I32, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_model, "present", lambda: False)
    held = engine.start(tmp_path, compiled=False)

    found = chosen(weight, held).sums(x)

    np.testing.assert_array_equal(found, wanted)
    assert held.libraries == "no compiled kernels: switched off, no onnxruntime"


def test_a_start_does_not_import_the_library(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from services.cpu_worker import engine\n"
        "engine.start(pathlib.Path(sys.argv[1]), compiled=False)\n"
        "sys.exit('onnxruntime' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program, tmp_path], cwd=ROOT, check=False)

    assert done.returncode == 0


def test_float_rows_need_no_session(
    weight: Tensor, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_product, "of_octets", None)
    x: F32 = rng.standard_normal((16, SIDE), dtype=np.float32)

    found = chosen(weight, Engine(trials=Trials())).multiply(x)

    np.testing.assert_allclose(found, x @ affine.dequantize(weight).T, rtol=1e-4, atol=1e-4)


def test_four_bits_are_tried_for_batches_of_float_rows(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(choice, "MARGIN", np.inf)  # whatever the times, it wins
    values: F32 = rng.standard_normal((SIDE, SIDE), dtype=np.float32)
    weight = affine.quantize(values, int4_per_group(32))
    made = Engine(trials=Trials()).quantized(weight)
    assert isinstance(made, ChosenNibbles)
    x: F32 = rng.standard_normal((32, SIDE), dtype=np.float32)
    x[3, 4] = np.nan

    found = made.multiply(x)

    assert made.rival.session is not None
    wanted = x @ affine.dequantize(weight).T
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_groups_that_the_library_does_not_take_stay_ours(rng: np.random.Generator) -> None:
    values: F32 = rng.standard_normal((SIDE, 300), dtype=np.float32)

    made = Engine(trials=Trials()).quantized(affine.quantize(values, int4_per_group(100)))

    assert not isinstance(made, ChosenNibbles | Summing)
