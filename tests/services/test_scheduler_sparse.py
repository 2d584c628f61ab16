"""Sparse weights as the scheduler weighs them: every layout and value type, inline and by blob."""

import numpy as np
import pytest

from services.scheduler import demand, estimates, intake
from services.scheduler.demand import Demand
from services.scheduler.events import Unreadable
from shared.contracts import frame, subjects
from shared.contracts.v1.jobs import BlobRef, JobSubmitted, OperatorBody, TensorRef
from shared.operators import catalog
from shared.operators.spec import Tensors
from shared.placement import hardware
from shared.sparse import convert, narrow
from shared.tensors import container, layouts
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import SPARSE, Layout, Tensor
from tests.services import scheduler_house as build

ROWS, COLS, COLUMNS = 256, 512, 8
VALUES = (Dtype.F32, Dtype.F16, Dtype.I8)


def weight(layout: Layout, dtype: Dtype) -> Tensor:
    """Two of every four columns in whole blocks, so that nothing pads: a quarter of all places."""
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((ROWS, COLS)).astype(np.float32)
    if layout is Layout.BLOCK:
        matrix[:, : COLS * 3 // 4] = 0
    else:
        matrix[:, 2::4] = matrix[:, 3::4] = matrix[:, COLS // 2 :] = 0
    return narrow.narrow(convert.to_layout(layouts.dense(matrix), layout), dtype)


def weighed(layout: Layout, tensors: Tensors, refs: dict[str, TensorRef]) -> Demand:
    """The demand of a product, by way of its bytes."""
    body = OperatorBody(operator=f"spmm_{layout}")
    job = JobSubmitted(job="j1", body=body, tensors=refs)
    given = intake.frame(frame.encode(job, tensors))
    parsed = intake.read(1, subjects.job("default", body.kind), given)
    assert not isinstance(parsed, Unreadable)
    return parsed[1]


@pytest.mark.parametrize("dtype", VALUES)
@pytest.mark.parametrize("layout", sorted(SPARSE))
def test_an_inline_weight_costs_what_its_type_costs(layout: Layout, dtype: Dtype) -> None:
    held, x = weight(layout, dtype), layouts.dense(np.ones((COLS, COLUMNS), np.float32))
    spec = catalog.spec(f"spmm_{layout}")
    exact = spec.cost(
        {"weight": held.type, "x": x.type}, {"batch_first": False, "activation": "none"}
    )

    [step] = weighed(layout, {"weight": held, "x": x}, {}).work.steps

    assert step.sparse
    assert step.cost.bytes == exact.bytes
    assert step.cost.flops == pytest.approx(exact.flops, rel=0.01)


@pytest.mark.parametrize("dtype", VALUES)
@pytest.mark.parametrize("layout", sorted(SPARSE))
def test_a_weight_in_a_blob_costs_nearly_the_same(layout: Layout, dtype: Dtype) -> None:
    held, x = weight(layout, dtype), layouts.dense(np.ones((COLS, COLUMNS), np.float32))
    blob = BlobRef(sha256="a" * 64, size=len(container.pack({"weight": held}, {})))
    ref = TensorRef(blob=blob, layout=layout, dtype=dtype, shape=held.shape)

    [inline] = weighed(layout, {"weight": held, "x": x}, {}).work.steps
    found = weighed(layout, {"x": x}, {"weight": ref})

    [step] = found.work.steps
    assert step.sparse
    assert found.work.upload == blob.size + x.nbytes
    assert step.cost.bytes == pytest.approx(inline.cost.bytes, rel=0.05)
    # Bytes alone tell of indices what i32 takes, of a scale or the row starts nothing.
    assert step.cost.flops == pytest.approx(inline.cost.flops, rel=0.15)


@pytest.mark.parametrize("layout", sorted(SPARSE))
@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 4), (2**31 - 1, 2**31 - 1), (0, 0)])
def test_a_senseless_shape_by_reference_is_left_to_the_worker(
    layout: Layout, shape: tuple[int, ...]
) -> None:
    blob = BlobRef(sha256="a" * 64, size=1000)
    ref = TensorRef(blob=blob, layout=layout, dtype="f32", shape=shape)
    x = layouts.dense(np.ones((COLS, COLUMNS), np.float32))

    found = weighed(layout, {"x": x}, {"weight": ref})

    assert found.work.steps == ()
    assert found.work.upload == 1000 + x.nbytes


def test_a_bitmask_that_claims_more_bits_than_bytes_stores_nothing() -> None:
    ref = TensorRef(
        blob=BlobRef(sha256="a" * 64, size=100), layout="bitmask", dtype="f32", shape=(ROWS, COLS)
    )

    (found,) = demand.types({"weight": ref}, None).values()

    assert found.nonzeros == 0
    assert found.stored_bytes == 100


def traced(operator: str, sparsity: float) -> estimates.Line:
    """A variant of one step that was timed elsewhere, on a device whose sparse rate is lower."""
    made = build.manifest(flops=1e9).variants[0]
    steps = tuple(
        step.model_copy(update={"operator": operator, "sparsity": sparsity})
        for step in made.steps["cpu"]
    )
    variant = made.model_copy(update={"steps": {"other": steps}})
    return estimates.line(variant, "cpu", hardware.prior("cpu"))


def test_a_step_is_sparse_by_its_operator_and_not_by_chance_zeros() -> None:
    known = hardware.prior("cpu")
    dense, sparse = 1e9 / known.gemm_rate.typical, 1e9 / known.spmm_rate.typical

    assert traced("gemm_i8", 0.01).seconds == pytest.approx(dense, rel=0.01)
    assert traced("gemm_f32", 0.9).seconds == pytest.approx(dense, rel=0.01)
    assert traced("heard_of_tomorrow", 0.9).seconds == pytest.approx(dense, rel=0.01)
    for layout in SPARSE:
        assert traced(f"spmm_{layout}", 0.0).seconds == pytest.approx(sparse, rel=0.01)
