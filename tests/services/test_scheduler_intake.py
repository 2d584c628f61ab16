"""What the scheduler reads out of a frame without unpacking it."""

import json

import numpy as np
import pytest

from services.scheduler import demand, intake
from services.scheduler.demand import Demand
from services.scheduler.events import Unreadable
from shared.contracts import frame, subjects
from shared.contracts.v1.jobs import (
    BlobRef,
    Body,
    CompressBody,
    InferBody,
    JobSubmitted,
    OperatorBody,
    TensorRef,
)
from shared.operators.spec import Tensors
from shared.tensors import layouts
from shared.tensors.dtypes import Dtype
from shared.tensors.layouts import Layout, Tensor

F32 = np.float32


def weighed(body: Body, tensors: Tensors, refs: dict[str, TensorRef] | None = None) -> Demand:
    """The demand of a job, by way of its bytes."""
    job = JobSubmitted(job="j1", body=body, tensors=refs or {})
    given = intake.frame(frame.encode(job, tensors))
    parsed = intake.read(1, subjects.job("default", body.kind), given)
    assert not isinstance(parsed, Unreadable)
    assert parsed[0] == job
    return parsed[1]


def test_a_product_is_weighed_by_its_shapes() -> None:
    tensors = {
        "x": layouts.dense(np.ones((8, 64), F32)),
        "weight": layouts.dense(np.ones((32, 64), F32)),
    }

    found = weighed(OperatorBody(operator="gemm_f32", repeat=3), tensors)

    [step] = found.work.steps
    assert step.cost.flops == pytest.approx(2 * 8 * 32 * 64, rel=0.05)
    assert not step.sparse
    assert found.work.upload == 4 * (8 * 64 + 32 * 64)
    assert found.work.download == 4 * 8 * 32
    assert found.work.repeat == 3


def test_a_sparse_product_is_weighed_by_its_stored_values() -> None:
    parts = {
        "indptr": np.array([0, 1, 3], np.int32),
        "indices": np.array([2, 0, 1], np.int32),
        "values": np.ones(3, F32),
    }
    weight = Tensor(Layout.CSR, Dtype.F32, (2, 4), parts)
    x = layouts.dense(np.ones((4, 5), F32))

    [step] = weighed(OperatorBody(operator="spmm_csr"), {"weight": weight, "x": x}).work.steps

    assert step.sparse
    assert step.cost.flops == pytest.approx(2 * 3 * 5, rel=0.5)  # 3 values, 5 columns of x


def test_a_tensor_that_is_referred_to_counts_like_an_inline_one() -> None:
    ref = TensorRef(blob=BlobRef(sha256="a" * 64, size=1000), dtype="f32", shape=(10, 20))

    found = weighed(OperatorBody(operator="relu"), {}, {"x": ref})

    assert found.work.upload == 1000
    assert found.work.download == 4 * 10 * 20


def test_an_inference_knows_its_rows_and_leaves_its_steps_to_the_model() -> None:
    found = weighed(InferBody(model="m"), {"x": layouts.dense(np.ones((7, 3), F32))})

    assert (found.rows, found.work.steps) == (7, ())
    assert found.work.upload == 4 * 7 * 3


@pytest.mark.parametrize(
    "body",
    [OperatorBody(operator="unheard_of"), OperatorBody(operator="gemm_f32")],
    ids=["unknown operator", "missing port"],
)
def test_a_wrong_call_weighs_nothing_and_is_left_to_the_worker(body: OperatorBody) -> None:
    assert weighed(body, {"x": layouts.dense(np.ones((2, 2), F32))}).work.steps == ()


def test_work_of_services_is_not_weighed() -> None:
    assert weighed(CompressBody(model="m", method="int8"), {}) == demand.NONE


def test_a_header_with_nonsense_in_it_is_still_a_job() -> None:
    job = JobSubmitted(job="j1", body=OperatorBody(operator="relu"))
    text = job.encode().decode().replace('"', '\\"')
    head = f'{{"__metadata__":{{"message":"{text}"}},"x":{{"data_offsets":"none"}}}}'.encode()
    data = len(head).to_bytes(8, "little") + head

    parsed = intake.read(1, subjects.job("default", "operator"), intake.frame(data))

    assert not isinstance(parsed, Unreadable)
    assert parsed[1].work.steps == ()


@pytest.mark.parametrize(
    ("data", "job"),
    [
        (b"", None),
        (b"nonsense", None),
        (b"{}", None),
        (b'{"job":"j1"}', "j1"),
        (b'{"job":"../up"}', None),
        (b"[" * 100_000, None),
    ],
    ids=["empty", "no frame", "no job", "a job id", "a bad id", "deep"],
)
def test_what_is_no_job_is_told_apart_by_whether_it_can_be_answered(
    data: bytes, job: str | None
) -> None:
    found = intake.read(1, subjects.job("acme", "operator"), intake.frame(data))

    assert isinstance(found, Unreadable)
    assert (found.tenant, found.job) == ("acme", job)


@pytest.mark.parametrize(
    "tokens",
    [
        "ev!l.operator",
        "acme.oper tor",
        ".operator",
        "acme.",
        "acme",
        "acme.operator.more",
        f"{'a' * 65}.operator",
        f"acme.{'a' * 65}",
        "\u00e4cme.operator",
        "acme\n.operator",
    ],
)
def test_a_subject_that_cannot_be_repeated_is_answered_under_a_safe_one(tokens: str) -> None:
    data = frame.encode(JobSubmitted(job="j1", body=OperatorBody(operator="relu")))

    found = intake.read(1, f"{subjects.PREFIX}.job.{tokens}", intake.frame(data))

    assert isinstance(found, Unreadable)
    assert (found.tenant, found.kind, found.job) == ("unknown", "unknown", None)
    assert "subject" in found.reason


@pytest.mark.parametrize("job", ["", "a.b", "j!", "j\n", "a" * 65, "\u00e4", "*", ">", 7, None])
def test_an_id_that_is_no_token_is_never_repeated(job: object) -> None:
    text = json.dumps({"type": "jobs.submitted.v1", "job": job, "body": {"kind": "operator"}})

    found = intake.read(1, subjects.job("acme", "operator"), intake.frame(text.encode()))

    assert isinstance(found, Unreadable)
    assert found.job is None


def test_a_body_of_another_tenant_is_answered_to_the_tenant_of_the_subject() -> None:
    job = JobSubmitted(job="j1", tenant="other", body=OperatorBody(operator="relu"))

    found = intake.read(1, subjects.job("acme", "operator"), intake.frame(frame.encode(job)))

    assert isinstance(found, Unreadable)
    assert (found.tenant, found.job) == ("acme", "j1")
    assert "other" in found.reason


@pytest.mark.parametrize("size", ["1e999", "[1e999,1e999]", "[0]", "[0,null]"])
def test_offsets_that_are_no_numbers_never_stop_the_reader(size: str) -> None:
    job = JobSubmitted(job="j1", body=OperatorBody(operator="relu"))
    text = json.dumps(job.encode().decode())
    head = f'{{"__metadata__":{{"message":{text}}},"x":{{"data_offsets":{size}}}}}'.encode()
    data = len(head).to_bytes(8, "little") + head

    found = intake.read(1, subjects.job("default", "operator"), intake.frame(data))

    assert not isinstance(found, Unreadable) or found.job == "j1"
