"""What the demo tells of a job."""

import pytest

from ops.demo.serving import _reason
from shared.contracts.v1.jobs import JobFinished


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ({"verdict": {"reason": "accepted: 0.1 ms"}, "accepted": True}, "accepted: 0.1 ms"),
        ({"accepted": False, "reason": "nothing held"}, ""),  # a search that kept nothing
    ],
)
def test_a_search_that_kept_nothing_has_no_verdict(report: dict[str, object], told: str) -> None:
    assert _reason(JobFinished.model_construct(report=report)) == told
