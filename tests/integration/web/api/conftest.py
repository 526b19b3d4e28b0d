from collections.abc import Iterator
from pathlib import Path

import pytest
from support.web_server import Web


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with Web(tmp_path / "state").running() as running:
        yield running


@pytest.fixture(scope="module")
def quiet_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """One server for the tests of a module that only read, or are refused."""
    with Web(tmp_path_factory.mktemp("web") / "state").running() as running:
        yield running
