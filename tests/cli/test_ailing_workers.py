"""A worker whose device is away or wrong is named where a person looks first."""

from ops.cli.checks import suite
from ops.cli.checks.finding import Verdict
from ops.cli.status import standing
from shared.contracts.v1.workers import WorkerCard

WELL = WorkerCard(worker="cpu-1", worker_class="cpu", service="cpu-worker", pid=1)
AWAY = WorkerCard(
    worker="gpu-1", worker_class="gpu-pocl", service="gpu-worker", pid=2, unready="SIGABRT"
)
WRONG = AWAY.model_copy(update={"worker": "gpu-2", "unready": None, "quarantined": "2 is not 3"})


def test_the_doctor_names_each_ailing_worker_with_its_reason() -> None:
    whole, away, wrong = suite.stack("lab:8001", [WELL, AWAY, WRONG])

    assert (whole.verdict, whole.seen) == (Verdict.OK, "answers at lab:8001 with 1 cpu, 2 gpu-pocl")
    assert away.verdict is wrong.verdict is Verdict.WARN
    assert away.seen == "gpu-1 (gpu-pocl, pid 2) is unready: SIGABRT"
    assert wrong.seen == "gpu-2 (gpu-pocl, pid 2) is quarantined: 2 is not 3"


def test_the_status_says_whether_a_worker_takes_work() -> None:
    leaving = WELL.model_copy(update={"draining": True})

    said = [standing(card) for card in (WELL, leaving, AWAY, WRONG)]

    assert said == ["ready", "draining", "unready: SIGABRT", "quarantined: 2 is not 3"]
