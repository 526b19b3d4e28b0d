"""The radiographs beside the repository, which are never part of it."""

from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).resolve().parents[4] / "shared" / "data"


@pytest.fixture(scope="session")
def radiographs() -> Path:
    """The folder ../shared/data; without it the test is skipped, also under CI. Mark it `data`."""
    if not FOLDER.is_dir():
        pytest.skip("no radiographs in ../shared/data, which is not part of the repository")
    return FOLDER
