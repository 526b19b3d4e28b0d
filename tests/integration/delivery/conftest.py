"""A deliver worker that sends to a peer of a test's own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.dcmtk import StoreSCP
from peers.scripted_pacs import ScriptedPacs
from support.delivery_worker import DeliverySetup


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Callable[..., DeliverySetup]]:
    """`setup(peer)` makes a worker with this peer as its destination."""
    made: list[DeliverySetup] = []

    def make(peer: ScriptedPacs | StoreSCP, **options: Any) -> DeliverySetup:  # noqa: ANN401
        made.append(DeliverySetup(tmp_path, peer, **options))
        return made[-1]

    yield make
    for each in made:
        each.ledger.close()
