"""Fixtures of the services' tests."""

import pytest

from services.scheduler.machine import Machine
from tests.services import gateway_house


@pytest.fixture(params=gateway_house.FRONTS)
def front(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every gateway that the test opens has this front end."""
    monkeypatch.setattr(gateway_house, "front_of_test", gateway_house.FRONTS[request.param])
    return request.param


@pytest.fixture
def machine() -> Machine:
    """A scheduler's machine that has heard nothing yet."""
    return Machine()
