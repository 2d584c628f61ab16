"""Fixtures of the numerics that several modules ask for by name."""

from collections.abc import Iterator

import pytest

from shared.sparse import choose
from shared.sparse.candidates import EVERY


@pytest.fixture(scope="module")
def everything_is_tried() -> Iterator[None]:
    """So that a test may name any layout, however the table ranks it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choose, "TRIED", len(EVERY))
        yield
