"""The pages of pictures: every picture is drawn by code, committed, and small."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from ops.bench import competition, neurons, plasticity, quiet_digits, spiking_paths

DRAWN = (neurons, plasticity)
COMMITTED = [
    *(module.FOLDER / name for module in DRAWN for name in module.drawn()),
    competition.PICTURE,
    spiking_paths.PICTURE,
    quiet_digits.PICTURE,
]
MOST = 100_000  # bytes of a picture


@pytest.mark.parametrize("module", DRAWN, ids=lambda module: module.__name__)
def test_the_page_shows_every_picture_that_is_drawn(module: ModuleType) -> None:
    page = module.FOLDER.parent / f"{module.__name__.rpartition('.')[2]}.md"

    assert re.findall(r"\(pictures/(.*?)\)", page.read_text()) == list(module.drawn())


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_a_committed_picture_is_a_small_file(path: Path) -> None:
    picture = path.read_bytes()

    assert picture.startswith(b"\x89PNG")
    assert len(picture) < MOST
