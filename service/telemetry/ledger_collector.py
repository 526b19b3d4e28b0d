"""Metrics read from the ledger, Redis and the disk on every scrape, so that they never drift.

When the ledger or Redis does not respond, the page says so and shows the rest.
"""

from collections.abc import Callable, Iterable
from typing import Final

import redis
import structlog
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service.dicom.implementation import VERSION
from service.domain.queues import DELIVER, INFER
from service.settings import Settings
from service.storage.ledger import Ledger, LedgerError
from service.storage.spool import Spool
from service.telemetry.drift import DriftMonitor
from service.telemetry.heartbeat import FRESH_SECONDS
from service.telemetry.timeouts import call_with_timeout

log = structlog.get_logger()

QUEUES: Final = (INFER, DELIVER)
ROLES: Final = ("listener", "relay", "infer", "deliver", "web")
SHADOW: Final = "shadow"  # a role where a shadow model is configured

_LEDGER_SECONDS: Final = 3.0  # a scrape times out after 10 by default
_REDIS_SECONDS: Final = 0.5


class LedgerMetrics(Collector):
    """The collector that `/metrics` adds to the metrics of the processes."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        spool: Spool,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._destinations = [each.name for each in settings.destinations]
        self._ledger = ledger
        self._spool = spool
        self._exports_audit = settings.audit.syslog_host is not None
        self._redis_url = settings.redis_url
        self._clock = clock or ledger.now
        self._has_shadow = settings.shadow.path is not None
        self._drift = DriftMonitor(settings, ledger)

    def collect(self) -> Iterable[Metric]:
        """Read the ledger, Redis and the disk; leave out what does not respond."""
        yield from self._of_ledger()
        yield from self._of_drift()
        yield from self._of_redis()
        yield from self._of_spool()
        build = GaugeMetricFamily(
            "lobar_build_info", "The version of Lobar, in a label. Always 1.", labels=["version"]
        )
        build.add_metric([VERSION], 1)
        yield build

    def _of_ledger(self) -> Iterable[Metric]:
        up = GaugeMetricFamily(
            "lobar_ledger_up", "1 if the ledger responded to this scrape, otherwise 0."
        )
        try:
            families = call_with_timeout(
                _LEDGER_SECONDS,
                lambda: [
                    *(*self._jobs(), *self._due(), *self._deliveries()),
                    *(self._breakers(), self._processes(), self._audit(), self._offset()),
                    self._shadows(),
                ],
            )
        except (LedgerError, TimeoutError):
            log.exception("ledger_not_answering")
            families = []
        up.add_metric([], float(bool(families)))
        yield up
        yield from families

    def _jobs(self) -> Iterable[Metric]:
        job_counts = self._ledger.queries.job_counts()
        jobs = GaugeMetricFamily("lobar_jobs", "Jobs in the ledger by state.", labels=["state"])
        for state, count in job_counts.by_state.items():
            jobs.add_metric([state], count)
        parked = GaugeMetricFamily(
            "lobar_parked",
            "Parked jobs, which wait for a person, by coded reason.",
            labels=["reason"],
        )
        for reason, count in job_counts.parked_by_reason.items():
            parked.add_metric([reason], count)
        yield jobs
        yield parked
        yield _single(
            "lobar_ledger_received",
            "Instances received since the ledger began.",
            job_counts.received,
        )
        yield _single(
            "lobar_ledger_forgotten", "Finished jobs removed by retention.", job_counts.forgotten
        )
        yield _single(
            "lobar_jobs_in_flight",
            "Jobs that are not finished or parked: received, reported.",
            job_counts.in_flight,
        )
        yield _single(
            "lobar_balance",
            "Received less forgotten, delivered, not analysed, dismissed, parked and in flight. "
            "Always 0.",
            job_counts.balance,
        )

    def _due(self) -> Iterable[Metric]:
        due = self._ledger.queries.due()
        counts = GaugeMetricFamily(
            "lobar_due",
            "Due work that is not leased, by stage; 0 for a destination whose breaker is open.",
            labels=["stage", "destination"],
        )
        ages = GaugeMetricFamily(
            "lobar_oldest_due_seconds",
            "Age of the oldest due job (infer), pending delivery (deliver), awaited commitment "
            "(commit) or unreported commitment result (answer); 0 when there is none.",
            labels=["stage", "destination"],
        )
        counts.add_metric(["infer", ""], due.infer)
        ages.add_metric(["infer", ""], self._age(due.oldest_infer_at))
        counts.add_metric(["answer", ""], due.answer)
        ages.add_metric(["answer", ""], self._age(due.oldest_answer_at))
        for stage, now_due, oldest in (
            ("deliver", due.deliver, due.oldest_deliver_at),
            ("commit", due.commit, due.oldest_commit_at),
        ):
            for name in sorted({*self._destinations, *oldest}):
                counts.add_metric([stage, name], now_due.get(name, 0))
                ages.add_metric([stage, name], self._age(oldest.get(name)))
        yield counts
        yield ages

    def _age(self, since: float | None) -> float:
        return 0.0 if since is None else max(0.0, self._clock() - since)

    def _deliveries(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "lobar_deliveries",
            "Deliveries in the ledger by destination and state.",
            labels=["destination", "state"],
        )
        for (name, state), count in sorted(self._ledger.queries.delivery_counts().items()):
            family.add_metric([name, state], count)
        yield family

    def _breakers(self) -> Metric:
        family = GaugeMetricFamily(
            "lobar_breaker_open",
            "Breakers not closed: of destinations (deliver), of the infer workers of each machine "
            "(infer).",
            labels=["stage", "destination"],
        )
        breakers = self._ledger.breakers.not_closed(FRESH_SECONDS)
        of_destinations = {each.name for each in breakers if each.fault is None}
        family.add_metric(["infer", ""], len(breakers) - len(of_destinations))
        for name in sorted({*self._destinations, *of_destinations}):
            family.add_metric(["deliver", name], float(name in of_destinations))
        return family

    def _processes(self) -> Metric:
        family = GaugeMetricFamily(
            "lobar_process_ready",
            "Processes whose heartbeat of the last 20 seconds says ready, by role.",
            labels=["role"],
        )
        beats = self._ledger.heartbeats.alive(FRESH_SECONDS)
        for role in (*ROLES, SHADOW) if self._has_shadow else ROLES:
            family.add_metric([role], sum(beat.ready for beat in beats if beat.role == role))
        return family

    def _offset(self) -> Metric:
        return _single(
            "lobar_clock_offset_seconds",
            "The machine's wall clock less scheduling time, by which the ledger decides.",
            self._ledger.wall_offset(),
        )

    def _shadows(self) -> Metric:
        return _single(
            "lobar_shadow_pending",
            "Instances that the shadow model has not read yet; 0 without one.",
            self._ledger.shadows.pending(),
        )

    def _of_drift(self) -> Iterable[Metric]:
        index = GaugeMetricFamily(
            "lobar_drift_psi",
            "Population stability index of the last days against the reference, by input; none "
            "with too few instances.",
            labels=["input"],
        )
        window = GaugeMetricFamily(
            "lobar_drift_window_instances",
            "Instances of the last days that the model saw, on which drift is measured.",
        )
        try:
            measured = call_with_timeout(_LEDGER_SECONDS, self._drift.latest)
        except (LedgerError, TimeoutError):
            log.exception("drift_not_measured")
        else:
            window.add_metric([], measured.instances)
            for each in measured.inputs:
                if each.drift.index is not None:
                    index.add_metric([each.input], each.drift.index)
        yield index
        yield window

    def _audit(self) -> Metric:
        pending = 0
        if self._exports_audit:
            exported = self._ledger.audit_export.state().exported
            pending = self._ledger.audit.count_after(exported)
        return _single(
            "lobar_audit_export_pending",
            "Records of the audit trail that the syslog server has not taken; 0 without one.",
            pending,
        )

    def _of_redis(self) -> Iterable[Metric]:
        depth = GaugeMetricFamily(
            "lobar_queue_depth",
            "Notifications in Redis that no worker has received yet, by queue.",
            labels=["queue"],
        )
        depths = queue_depths(self._redis_url)
        for queue, count in depths.items():
            depth.add_metric([queue], count)
        yield _single(
            "lobar_redis_up",
            "1 if Redis responded to this scrape, otherwise 0.",
            float(bool(depths)),
        )
        yield depth

    def _of_spool(self) -> Iterable[Metric]:
        try:
            free, has_room = self._spool.free_bytes(), self._spool.has_room()
        except OSError:
            free, has_room = 0, False
        yield _single(
            "lobar_spool_free_bytes",
            "Bytes that can still be written to the spool above its reserve.",
            free,
        )
        yield _single(
            "lobar_spool_has_room",
            "1 while instances are received; 0 from the reserve on until an eighth more is free.",
            has_room,
        )


def queue_depths(redis_url: str | None) -> dict[str, int]:
    """Count the notifications in Redis by queue; return nothing where it does not respond."""
    if redis_url is None:
        return {}
    try:
        with redis.Redis.from_url(
            redis_url,
            socket_timeout=_REDIS_SECONDS,
            socket_connect_timeout=_REDIS_SECONDS,
        ) as client:
            return {queue: int(client.llen(queue)) for queue in QUEUES}
    except (redis.RedisError, OSError, ValueError):
        return {}


def _single(name: str, help_text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, help_text)
    family.add_metric([], value)
    return family
