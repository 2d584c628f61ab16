"""Every value that tuning may choose comes to a launch, and no field is idle; nothing is built."""

import pytest

from services.gpu_worker.tuned import problems, space
from services.gpu_worker.tuning import CARD, PROCESSOR, Tuning
from shared.operators import catalog
from tests.opencl import recorded

TUNED = [spec.name for spec in catalog.CATALOG if problems.of(spec.name)]


@pytest.mark.parametrize("start", [CARD, PROCESSOR], ids=["card", "processor"])
@pytest.mark.parametrize("operator", TUNED)
def test_every_value_of_the_space_comes_to_a_launch(operator: str, start: Tuning) -> None:
    for problem in problems.of(operator):
        assert recorded.launches(problem, start)
        for each in space.of(operator).fields:
            for value in each.candidates(start):
                values = space.without_defaults(start, {each.name: value})
                if space.refuses(operator, start, values) is None:
                    assert recorded.launches(problem, space.applied(start, values))


@pytest.mark.parametrize("operator", TUNED)
def test_no_field_of_a_space_is_idle_on_a_card(operator: str) -> None:
    for each in space.of(operator).fields:
        made = {
            str(recorded.launches(problem, space.applied(CARD, {each.name: value})))
            for problem in problems.of(operator)
            for value in each.candidates(CARD)
        }
        assert len(made) > len(problems.of(operator)) or len(each.candidates(CARD)) == 1, each.name
