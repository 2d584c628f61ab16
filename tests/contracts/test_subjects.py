"""Subjects and the error catalogue: names that the outside sees."""

from collections.abc import Callable

import pytest

from shared.bus.store import matches
from shared.contracts import errors, subjects
from shared.contracts.subjects import Bucket

BAD = [
    "",
    "a.b",
    "*",
    ">",
    "a b",
    "-a",
    "_a",
    "a" * 65,
    "../a",
    "a\n",
    "a\r\nPUB",
    "ä",
    "a/b",
    "a\x00",
]
BUILDERS: list[Callable[[str], str]] = [
    lambda bad: subjects.job(bad, "infer"),
    lambda bad: subjects.job("tenant", bad),
    lambda bad: subjects.run(bad, "infer"),
    lambda bad: subjects.run("cpu", bad),
    subjects.runs_of,
    lambda bad: subjects.result(bad, "job"),
    lambda bad: subjects.result("tenant", bad),
    lambda bad: subjects.done("tenant", bad),
    lambda bad: subjects.event("tenant", "job", bad),
    lambda bad: subjects.event(bad, "job", "progress"),
    lambda bad: subjects.events_of("tenant", bad),
    lambda bad: subjects.audit("tenant", bad, "placed"),
    subjects.cancel,
    subjects.interactive,
    subjects.interactive_worker,
    lambda bad: subjects.session(bad, "stream"),
    lambda bad: subjects.session("tenant", bad),
    subjects.sessions_of_worker,
    subjects.heartbeat,
    lambda bad: subjects.dead("EL_RUN", bad),
    lambda bad: subjects.blob(bad, 0),
]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("build", BUILDERS)
def test_a_bad_token_never_becomes_part_of_a_subject(build: Callable[[str], str], bad: str) -> None:
    with pytest.raises(ValueError, match="must match"):
        build(bad)


def test_subjects_are_what_the_outside_was_told() -> None:
    assert subjects.job("acme", "infer") == "el.v1.job.acme.infer"
    assert subjects.run("gpu-pocl", "infer") == "el.v1.run.gpu-pocl.infer"
    assert subjects.result("acme", "job-1") == "el.v1.res.acme.job-1"
    assert subjects.done("acme", "job-1") == "el.v1.done.acme.job-1"
    assert subjects.session("acme", "eye-7") == "el.v1.ses.acme.eye-7"
    assert subjects.event("acme", "job-1", "progress") == "el.v1.evt.acme.job-1.progress"
    assert subjects.audit("acme", "job-1", "placed") == "el.v1.audit.acme.job-1.placed"
    assert subjects.cancel("job-1") == "el.v1.ctl.cancel.job-1"
    assert subjects.interactive("cpu") == "el.v1.rt.cpu.infer"
    assert subjects.interactive_worker("cpu-1") == "el.v1.rtw.cpu-1.infer"
    assert subjects.heartbeat("cpu-1") == "el.v1.hb.cpu-1"
    assert subjects.dead("EL_RUN", "failed") == "el.v1.dlq.EL_RUN.failed"
    assert subjects.blob("a" * 64, 2) == f"el.v1.blob.{'a' * 64}.2"
    assert subjects.changes(Bucket.WORKERS) == "el.v1.kv.el_workers.>"


@pytest.mark.parametrize(
    ("pattern", "subject"),
    [
        (subjects.ALL_JOBS, subjects.job("acme", "infer")),
        (subjects.ALL_RUNS, subjects.run("cpu", "infer")),
        (subjects.runs_of("cpu"), subjects.run("cpu", "infer")),
        (subjects.ALL_RESULTS, subjects.result("acme", "1")),
        (subjects.ALL_DONE, subjects.done("acme", "1")),
        (subjects.ALL_HEARTBEATS, subjects.heartbeat("cpu-1")),
        (subjects.ALL_CANCELS, subjects.cancel("1")),
        (subjects.ALL_DEAD, subjects.dead("EL_RUN", "failed")),
        (subjects.ALL_BLOBS, subjects.blob("a" * 64, 0)),
        (subjects.ALL_AUDIT, subjects.audit("acme", "1", "ended")),
        (subjects.events_of("acme", "1"), subjects.event("acme", "1", "progress")),
    ],
)
def test_filters_hear_the_subjects_they_are_named_for(pattern: str, subject: str) -> None:
    assert matches(pattern, subject)


@pytest.mark.parametrize("subject", ["el.v1.job.acme", "el.v1.job.acme.infer.now"])
def test_a_job_without_exactly_tenant_and_kind_is_nobodys(subject: str) -> None:
    assert not matches(subjects.ALL_JOBS, subject)


def test_every_error_has_a_code_of_its_own_a_kind_and_a_way_out() -> None:
    classes = errors.SuiteError.__subclasses__()

    assert len(errors.catalogue()) == len(classes)
    for each in classes:
        assert each.code.startswith("EL-1")
        assert each.kind in errors.Kind
        assert each.fix
        assert each.__doc__


def test_an_error_reads_as_its_message() -> None:
    assert str(errors.NoWorker("nobody listens")) == "nobody listens"
    assert str(errors.NoWorker()) == "NoWorker"
