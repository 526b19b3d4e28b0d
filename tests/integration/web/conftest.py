from collections.abc import Iterator
from pathlib import Path

import pytest
from support.web_server import Web


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with Web(tmp_path / "state").running() as running:
        yield running


@pytest.fixture(scope="session")
def empty_web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """One server for all tests that must leave nothing in it."""
    with Web(tmp_path_factory.mktemp("web") / "state").running() as running:
        yield running
        assert running.ledger.queries.recent() == []
        assert (running.left_in_incoming(), running.inbox()) == ([], [])
