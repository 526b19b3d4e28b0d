"""A real Prometheus scrapes a running service while faults are made, and alerts reach Alertmanager.

The rules are those of deploy/prometheus on a clock that runs 60 times as fast. Every query of the
dashboards is executed there. One service for all tests, which follow each other.
"""

import math
import os
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
from peers.committing_pacs import CommittingPacs
from peers.prometheus import Alertmanager, Prometheus
from peers.scripted_pacs import ScriptedPacs
from pydicom.dataset import Dataset
from support.alert_rules import needs_hundreds, panel_queries
from support.hostile import Part10, send
from support.lobar_process import LobarService, destination, wait_for
from support.system.certificates import Authority
from support.system.ports import LOOPBACK, free_port
from synthetic.objects import make_cr

from service.domain.job import JobState
from service.domain.user import Role
from service.web.access import SESSION_COOKIE

REFUSED: Final = 0xC000  # cannot understand, PS3.4 table B.2-1
GIVE_UP_SECONDS: Final = 30
STEPS_OF_HISTORY: Final = 240  # minutes: four hours of the faster clock are ten days
SITE: Final = """
groups:
  - name: lobar-site
    rules:
      - { record: "lobar:working_hours", expr: vector(1) }
      - { record: "lobar:oldest_due_limit_seconds", labels: { stage: infer }, expr: vector(5) }
      - { record: "lobar:oldest_due_limit_seconds", labels: { stage: deliver }, expr: vector(5) }
"""


@dataclass
class Monitored:
    """A service, and who watches it."""

    service: LobarService
    prometheus: Prometheus
    alertmanager: Alertmanager

    def told(self) -> list[dict[str, Any]]:
        """Return the alerts of which people are told."""
        return self.alertmanager.alerts()

    def wait_for(self, *names: str) -> None:
        """Wait until these alerts fire in Alertmanager."""
        wait_for(lambda: set(names) <= self.alertmanager.firing())


@pytest.fixture(scope="module")
def monitored(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[Monitored]:
    """A service with a PACS, one that refuses and one that is down."""
    health = free_port()
    certificate = authority.issue("listener", days=60)
    with ExitStack() as stack:
        pacs = stack.enter_context(CommittingPacs(ae_title="PACS").running())
        refusing = ScriptedPacs(ae_title="REFUSING", answer=lambda _: REFUSED)
        stack.enter_context(refusing.running())
        down = ScriptedPacs(ae_title="DOWN", port=free_port())
        service = LobarService(
            tmp_path_factory.mktemp("lobar"),
            [
                destination(pacs, "pacs", outputs=["sr"], storage_commitment=True),
                destination(refusing, "refusing", outputs=["sr"]),
                destination(down, "down", outputs=["sr"]),
            ],
            LOBAR_HEALTH__PORT=str(health),
            LOBAR_DICOM__TLS_PORT=str(free_port()),
            LOBAR_DICOM__TLS_CERTIFICATE_FILE=str(certificate.certificate),
            LOBAR_DICOM__TLS_KEY_FILE=str(certificate.key),
            LOBAR_DELIVER__MAXIMUM_REFUSALS="2",
            LOBAR_DELIVER__GIVE_UP_DAYS=str(GIVE_UP_SECONDS / 86_400),
        )
        stack.callback(service.kill)
        service.start()
        alertmanager = Alertmanager(tmp_path_factory.getbasetemp() / "alertmanager")
        stack.callback(alertmanager.kill)
        alertmanager.start()
        target = f"{LOOPBACK}:{health}"
        prometheus = Prometheus(
            tmp_path_factory.getbasetemp() / "prometheus",
            [target],
            alertmanager,
            site=SITE,
            history=history(target),
        )
        stack.callback(prometheus.kill)
        prometheus.start()
        yield Monitored(service, prometheus, alertmanager)


def history(target: str) -> str:
    """Return ten days of the faster clock: each minute, ten findings and two not analysed."""
    now = time.time() - 600
    times = [now - 60 * step for step in range(STEPS_OF_HISTORY, 0, -1)]
    lines = []
    for metric, label, rates in (
        ("lobar_predictions", "finding", {"present": 2, "absent": 8}),
        ("lobar_not_analysed", "reason", {"lateral-view": 2}),
    ):
        lines.append(f"# TYPE {metric} counter")
        for value, rate in rates.items():
            labels = f'job="lobar",instance="{target}",{label}="{value}"'
            lines += [
                f"{metric}_total{{{labels}}} {rate * step} {at:.3f}"
                for step, at in enumerate(times)
            ]
    return "\n".join([*lines, "# EOF", ""])


def store(service: LobarService, *datasets: Dataset) -> list[int | None]:
    """Store data sets over one association, and return the statuses."""
    return send(service.dicom_port, *(Part10.of_dataset(each) for each in datasets))


def child() -> Dataset:
    dataset = make_cr()
    dataset.PatientAge = "004Y"
    return dataset


def lateral() -> Dataset:
    dataset = make_cr()
    dataset.ViewPosition = "LL"
    return dataset


def without_study() -> Dataset:
    dataset = make_cr()
    del dataset.StudyInstanceUID
    return dataset


def restart_until_told(monitored: Monitored, role: str) -> None:
    """Kill a part each time that it works again, until people are to be told.

    Four times is enough for the alert, and on a busy machine, where each start takes long, five.
    """
    for _ in range(8):
        monitored.service.kill_part(role)
        if monitored.prometheus.query('ALERTS{alertname="LobarPartRestarts"}'):
            return


def redis_of(service: LobarService) -> int:
    """Return the process of the Redis that `lobar up` started, beside the listener."""
    supervisor = psutil.Process(service.part("listener")).parent()
    assert supervisor is not None
    (redis,) = [each.pid for each in supervisor.children() if "valkey" in each.name()]
    return redis


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def moved_away(folder: Path) -> Iterator[None]:
    """Move a folder away while the block runs, as if its disk were not mounted."""
    aside = folder.with_name("not-mounted")
    folder.rename(aside)
    try:
        yield
    finally:
        aside.rename(folder)


@contextmanager
def miscounted(service: LobarService) -> Iterator[None]:
    """Have the ledger count one instance more than it received while the block runs."""
    change = "INSERT INTO tally_changes (subject, state, name, number) VALUES (?, ?, ?, ?)"

    def add(number: int) -> None:
        with closing(sqlite3.connect(service.state_dir / "ledger.sqlite3", timeout=30)) as ledger:
            ledger.execute(change, ("received", "", "", number))
            ledger.commit()

    add(1)
    try:
        yield
    finally:
        add(-1)


def judge(service: LobarService, job_id: str) -> None:
    """Agree with the report of a job, as a radiologist who signed in."""
    ledger = service.ledger()
    ledger.users.add("rita", Role.RADIOLOGIST, password_hash=None)
    token = ledger.sessions.begin("rita", seconds=3600)
    session = ledger.sessions.find(token, idle_seconds=3600)
    ledger.close()
    assert session is not None
    headers = {"X-CSRF-Token": session.csrf_token}
    cookies = {SESSION_COOKIE: token}
    with httpx.Client(base_url=service.url, headers=headers, cookies=cookies) as browser:
        found = re.search(
            r'name="report_uid" value="([\d.]+)"', browser.get(f"/jobs/{job_id}").text
        )
        assert found is not None
        form = {"report_uid": found[1], "opinion": "agree"}
        assert browser.post(f"/jobs/{job_id}/verdict", data=form).status_code == 303


def test_a_service_without_faults_raises_no_alert(monitored: Monitored) -> None:
    wait_for(lambda: monitored.prometheus.samples() >= 5)
    wrong = [rule for rule in monitored.prometheus.rules() if rule["health"] != "ok"]
    assert wrong == []
    assert monitored.prometheus.query('ALERTS{alertstate="firing"}') == []
    assert monitored.alertmanager.firing() == set()


def test_a_destination_that_is_down_and_one_that_refuses_are_told_apart(
    monitored: Monitored,
) -> None:
    service = monitored.service
    made = [child(), make_cr(), make_cr()]
    assert store(service, *made, lateral()) == [0, 0, 0, 0]
    monitored.wait_for("LobarDestinationDown", "LobarDeliveriesRefused", "LobarBacklog")
    told = {
        (each["labels"]["alertname"], each["labels"].get("destination"))
        for each in monitored.told()
    }
    assert ("LobarDestinationDown", "down") in told
    assert ("LobarDeliveriesRefused", "refusing") in told
    assert ("LobarBacklog", "down") not in told, "it follows from the destination that is down"
    (one,) = [
        each for each in monitored.told() if each["labels"]["alertname"] == "LobarDestinationDown"
    ]
    assert one["annotations"]["summary"] == "The destination down cannot be reached."
    assert one["annotations"]["runbook_url"] == "docs/operations.md#lobardestinationdown"
    for each in made:
        job = service.settled(each.SOPInstanceUID)
        assert job.state is JobState.PARKED, "it is given up, and refused"


def test_every_query_of_the_dashboards_returns_data(monitored: Monitored) -> None:
    service = monitored.service
    judge(service, next(job.id for job in service.all_jobs() if job.finding is not None))
    before = monitored.prometheus.samples()
    wait_for(lambda: monitored.prometheus.samples() >= before + 3)
    replaced = {
        "$job": "lobar",
        "$destination": ".*",
        "$__rate_interval": "2m",
    }
    empty = []
    queries = [each for each in panel_queries() if not needs_hundreds(each.expr)]
    assert len(queries) >= 80
    for query in queries:
        expr = query.expr
        for variable, value in replaced.items():
            expr = expr.replace(variable, value)
        assert "$" not in expr, query
        values = [float(series["value"][1]) for series in monitored.prometheus.query(expr)]
        if all(map(math.isnan, values)):  # also where there is no series
            empty.append(f"{query}: {expr}")
    assert empty == []


def test_a_heat_map_shows_where_the_instances_fell(monitored: Monitored) -> None:
    for stage in ("decode", "predict", "report", "deliver"):
        buckets = f'sum by (le) (increase(lobar_stage_seconds_bucket{{stage="{stage}"}}[5m]))'
        counted = {
            series["metric"]["le"]: float(series["value"][1])
            for series in monitored.prometheus.query(buckets)
        }
        assert counted["+Inf"] > 0, stage
        assert counted["0.005"] < counted["+Inf"], "not all in the first bucket"


def test_bad_instances_and_a_certificate_that_ends_raise_their_alerts(
    monitored: Monitored, authority: Authority
) -> None:
    authority.issue("listener", days=1)  # over the files of the one before
    bad = [without_study() for _ in range(6)]
    assert set(store(monitored.service, *bad)) == {0xA900}
    monitored.wait_for("LobarInstancesRejected", "LobarCertificateExpires")
    labels = {each["labels"]["alertname"]: each["labels"] for each in monitored.told()}
    assert labels["LobarInstancesRejected"]["reason"] == "missing-identifier"
    assert labels["LobarCertificateExpires"]["severity"] == "critical", "the warning is left out"


def test_parts_and_stores_that_fail_raise_their_alerts(monitored: Monitored) -> None:
    service = monitored.service
    with moved_away(service.state_dir / "spool"):
        monitored.wait_for("LobarDiskFull")
    with stopped(service.part("listener")):
        restart_until_told(monitored, "relay")
        monitored.wait_for("LobarPartRestarts")
        # not of those whom people are told of: a part that is not ready at the moment comes first
        fired = monitored.prometheus.query('ALERTS{alertname="LobarPartRestarts"}')
        assert [each["metric"]["role"] for each in fired] == ["relay"]
        with stopped(redis_of(service)), miscounted(service):
            monitored.wait_for("LobarRedisDown", "LobarBalanceOff", "LobarNotReady")


def test_alerts_end_with_their_faults_and_a_service_that_is_gone_is_told(
    monitored: Monitored,
) -> None:
    monitored.service.wait_until_ready()
    ended = {"LobarDiskFull", "LobarRedisDown", "LobarBalanceOff", "LobarNotReady"}
    wait_for(lambda: monitored.alertmanager.firing().isdisjoint(ended))
    monitored.service.stop()
    monitored.wait_for("LobarDown")
