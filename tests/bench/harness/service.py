"""A whole service with a durable destination, and when each instance went through it."""

import statistics
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.harness.engine import find_engine
from bench.receivers.peers import StoreScp, compiled
from support.lobar_process import SETTLED, LobarService, destination

from service.domain.job import Job, JobState

_SETTLE_SECONDS: Final = 240  # a bound against hanging
_POLL_SECONDS: Final = 0.2


class NotDeliveredError(Exception):
    """An instance did not end as delivered, or not in time."""


@dataclass(frozen=True, slots=True)
class Durable:
    """A service, and the storescp that it delivers to, which syncs each file."""

    service: LobarService
    pacs: StoreScp

    def clear(self) -> None:
        """Remove the files that arrived at the destination."""
        self.pacs.clear()


def prepared(folder: Path, **settings: str) -> Durable:
    """Prepare a service and start its destination; the caller starts the service, and ends both."""
    own = folder / "pacs"
    own.mkdir()
    pacs = StoreScp(own, compiled(folder))
    pacs.start()
    service = LobarService(folder, [destination(pacs, "pacs")], **settings)
    found = find_engine(Path(service.environment["LOBAR_BUNDLE__PATH"]), folder)
    service.set(**found)
    return Durable(service, pacs)


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Durable]:
    """Run a service and its destination."""
    durable = prepared(folder, **settings)
    try:
        durable.service.start()
        yield durable
    finally:
        durable.service.kill()
        durable.pacs.kill()


def delivered(service: LobarService, uids: Collection[str]) -> Mapping[str, Job]:
    """Wait until instances are delivered, and return the job of each.

    Raises:
        NotDeliveredError: one ended otherwise, or none of them ended for long.
    """
    wanted, until = set(uids), time.monotonic() + _SETTLE_SECONDS
    ledger = service.ledger()
    try:
        while time.monotonic() < until:
            jobs = {
                job.sop_instance_uid: job
                for job in ledger.queries.recent(len(wanted) + 50)
                if job.sop_instance_uid in wanted
            }
            if len(jobs) == len(wanted) and all(job.state in SETTLED for job in jobs.values()):
                break
            time.sleep(_POLL_SECONDS)
        else:
            raise NotDeliveredError(f"not delivered after {_SETTLE_SECONDS} s")
        for job in jobs.values():
            if job.state is not JobState.DELIVERED:
                raise NotDeliveredError(f"{job.state}: {job.reason}")
        return jobs
    finally:
        ledger.close()


def latencies(service: LobarService, answered: Sequence[tuple[str, float]]) -> list[float]:
    """Return for each instance the milliseconds from Success until all outputs are recorded.

    The record is committed after the destination's last answer.
    """
    jobs = delivered(service, [uid for uid, _ in answered])
    return [((jobs[uid].finished_at or 0) - at) * 1000 for uid, at in answered]


def percentile(values: Sequence[float], share: int) -> float:
    """Return a percentile of at least one value."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]
