"""One ledger per test, on SQLite and on PostgreSQL, with a clock that the test sets."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.migrated_ledger import open_ledger
from support.system.clock import Clock

from service.domain.job import Instance
from service.storage.ledger import Ledger


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(ledger_url: str, clock: Clock) -> Iterator[Ledger]:
    opened = open_ledger(ledger_url, clock)
    yield opened
    opened.close()


@pytest.fixture
def instance() -> Callable[..., Instance]:
    """Make an accepted instance: number n, with bytes of one kind or another."""

    def make(n: int = 1, *, copy: int = 0, bytes_: str = "a", **changes: object) -> Instance:
        values: dict[str, Any] = {
            "job_id": f"{n:028x}{copy:04x}",
            "sop_instance_uid": f"1.2.3.{n}",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1",
            "series_instance_uid": "1.2.3.100",
            "study_instance_uid": "1.2.3.200",
            "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            "digest": bytes_ * 64,
            "calling_ae_title": "MODALITY",
            **changes,
        }
        return Instance(size_bytes=10, **values)

    return make
