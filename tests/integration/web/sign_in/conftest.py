from collections.abc import Iterator
from pathlib import Path

import pytest
from support.web_server import Web


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with Web(tmp_path / "state").running() as running:
        yield running
