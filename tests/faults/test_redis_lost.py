"""Redis only carries notifications: without it nothing is lost and nothing is done twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from peers.dcmtk import StoreSCP
from peers.redis_server import RedisServer
from support.lobar_process import LobarService, destination, wait_for

from service.domain.job import JobState

pytestmark = pytest.mark.dcmtk


def test_a_redis_stopped_flushed_and_killed_loses_and_repeats_nothing(
    lobar_service: Callable[..., LobarService],
    storescp: Callable[..., StoreSCP],
    redis_server: RedisServer,
    instances: Callable[[int], list[tuple[Path, Any]]],
    store: Callable[..., int],
) -> None:
    receiver = storescp()
    service = lobar_service([destination(receiver, "pacs")], LOBAR_REDIS__URL=redis_server.url)
    made = instances(6)
    files = [file for file, _ in made]
    uids = [dataset.SOPInstanceUID for _, dataset in made]

    redis_server.stop()
    assert store(service, *files[:2]) == 0, "receiving must not need Redis"
    assert [service.jobs(uid)[0].state for uid in uids[:2]] == [JobState.RECEIVED] * 2
    redis_server.start()
    for uid in uids[:2]:
        assert service.settled(uid).state == JobState.DELIVERED

    assert store(service, *files[2:4]) == 0
    for _ in range(20):
        redis_server.flush()
    for uid in uids[2:4]:
        assert service.settled(uid).state == JobState.DELIVERED

    redis_server.kill()
    assert store(service, *files[4:]) == 0
    wait_for(lambda: service.metrics().get("lobar_redis_up") == 0)
    redis_server.start()
    for uid in uids[4:]:
        assert service.settled(uid).state == JobState.DELIVERED
    assert len(receiver.received()) == 2 * len(uids)  # a report and an overlay each
    assert service.balance() == 0
