"""Redis is lost, which only carries notifications, and then the supervisor.

Without Redis nothing is lost and nothing is done twice; without the supervisor no part goes on.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peers.dcmtk import StoreSCP
from peers.redis_server import RedisServer, program_of
from support.lobar_process import LobarService, destination, processes_of, wait_for

from service.domain.job import JobState

pytestmark = pytest.mark.dcmtk


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"), program_of("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def service(
    receiver: StoreSCP, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LobarService]:
    """A service with a Redis of its own; the last test kills it."""
    running = LobarService(
        tmp_path_factory.mktemp("lobar"),
        [destination(receiver, "pacs")],
        LOBAR_REDIS__URL=redis_server.url,
    )
    running.start()
    yield running
    running.kill()


def test_a_redis_stopped_flushed_and_killed_loses_and_repeats_nothing(
    service: LobarService,
    receiver: StoreSCP,
    redis_server: RedisServer,
    instances: Callable[[int], list[tuple[Path, Any]]],
    store: Callable[..., int],
) -> None:
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


def test_parts_do_not_outlive_a_supervisor_that_is_killed(service: LobarService) -> None:
    assert len(processes_of(service.state_dir)) >= 6
    service.kill()
    wait_for(lambda: not processes_of(service.state_dir), seconds=60)
