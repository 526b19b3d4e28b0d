import re
import socket
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from peers.redis_server import RedisServer
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics import MetricWrapperBase
from support.migrated_ledger import open_ledger
from support.routes import to

from service.domain.delivery import OutputRecord, Reference
from service.domain.job import ConclusionRecord, Instance
from service.domain.reasons import Reason
from service.settings import Settings
from service.storage.faults import Fault
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.telemetry import metrics
from service.telemetry.ledger_collector import LedgerMetrics
from service.telemetry.scrape import exposition

DOCUMENT = Path(__file__).resolve().parents[4] / "docs" / "metrics.md"
PACS = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
CONCLUSION = ConclusionRecord(
    finding="present", probability=0.9, operating_point="screening", model="m 1"
)
OUTPUTS = [OutputRecord(kind="sr", sop_class_uid="1.2", sop_instance_uid="1.2.3")]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = open_ledger(f"sqlite:///{tmp_path}/ledger.sqlite3")
    yield ledger
    ledger.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool")
    spool.prepare()
    return spool


def receive(ledger: Ledger) -> str:
    job_id = uuid.uuid4().hex
    uid = f"2.25.{uuid.uuid4().int}"
    ledger.jobs.receive(
        Instance(
            job_id=job_id,
            sop_instance_uid=uid,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
            series_instance_uid=uid,
            study_instance_uid=uid,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            digest="0" * 64,
            size_bytes=10,
            calling_ae_title="MODALITY",
        )
    )
    return job_id


def scrape(collector: LedgerMetrics) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(collector)
    page = generate_latest(registry).decode()
    lines = (line.rpartition(" ") for line in page.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_every_instance_is_accounted_for_in_every_state(ledger: Ledger, spool: Spool) -> None:
    for _ in range(5):
        receive(ledger)
    first, second, third, fourth = ledger.jobs.lease(
        "test/", 4, lease_seconds=60, maximum_attempts=3
    )
    ledger.jobs.not_analysed(first, Reason.VIEW)
    ledger.jobs.park(second, Reason.REPORT_FAILED)
    ledger.jobs.report(third, CONCLUSION, OUTPUTS, to(["pacs"]))
    ledger.jobs.report(fourth, CONCLUSION, OUTPUTS, to(["pacs"]))
    (delivery,) = ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
    ledger.deliveries.delivered(delivery, status=0)
    ledger.heartbeats.beat("listener", "test/listener/1/", ready=True)
    ledger.heartbeats.beat("infer", "test/infer/1/", ready=False)
    settings = Settings(destinations=(PACS,))
    found = scrape(LedgerMetrics(settings, ledger, spool, clock=lambda: 2e9))
    assert found["lobar_ledger_up"] == 1
    assert found["lobar_ledger_received"] == 5
    assert found["lobar_balance"] == 0
    states = ("received", "reported", "delivered", "not_analysed", "parked")
    assert [found[f'lobar_jobs{{state="{state}"}}'] for state in states] == [1, 1, 1, 1, 1]
    assert found["lobar_jobs_in_flight"] == 2
    assert found['lobar_parked{reason="report-failed"}'] == 1
    assert found['lobar_due{destination="",stage="infer"}'] == 1
    assert found['lobar_due{destination="pacs",stage="deliver"}'] == 1
    assert found['lobar_oldest_due_seconds{destination="pacs",stage="deliver"}'] > 1e6
    assert found['lobar_deliveries{destination="pacs",state="delivered"}'] == 1
    assert found['lobar_process_ready{role="listener"}'] == 1
    assert found['lobar_process_ready{role="infer"}'] == 0
    assert found["lobar_spool_free_bytes"] > 0


def test_breakers_are_counted_by_what_they_hold_up(ledger: Ledger, spool: Spool) -> None:
    ledger.deliveries.open_breaker("pacs", lambda _: 60)
    for machine in ("one", "two"):
        ledger.breakers.open(f"{machine}/infer/", lambda _: 60, Fault.DISK_FULL)
    south = {**PACS, "name": "south"}
    found = scrape(LedgerMetrics(Settings(destinations=(PACS, south)), ledger, spool))
    assert found['lobar_breaker_open{destination="",stage="infer"}'] == 2
    assert found['lobar_breaker_open{destination="pacs",stage="deliver"}'] == 1
    assert found['lobar_breaker_open{destination="south",stage="deliver"}'] == 0


def test_awaited_and_due_commitments_have_a_number_and_an_age(ledger: Ledger, spool: Spool) -> None:
    receive(ledger)
    (job,) = ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    ledger.jobs.report(job, CONCLUSION, OUTPUTS, to(["pacs"]))
    (delivery,) = ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
    ledger.deliveries.stored(delivery, status=0, sent=Reference("1.2", "1.2.3"))
    ledger.commitment_requests.receive("MODALITY", "1.2.9", [Reference("1.2", "1.2.3")])
    settings = Settings(destinations=(PACS,))
    found = scrape(LedgerMetrics(settings, ledger, spool, clock=lambda: 2e9))
    assert found['lobar_deliveries{destination="pacs",state="stored"}'] == 1
    assert found['lobar_due{destination="pacs",stage="commit"}'] == 1
    assert found['lobar_due{destination="pacs",stage="deliver"}'] == 0
    assert found['lobar_oldest_due_seconds{destination="pacs",stage="commit"}'] > 1e6
    assert found['lobar_oldest_due_seconds{destination="pacs",stage="deliver"}'] == 0
    assert found['lobar_due{destination="",stage="answer"}'] == 1
    assert found['lobar_oldest_due_seconds{destination="",stage="answer"}'] > 1e6
    assert found["lobar_jobs_in_flight"] == 1
    assert found["lobar_balance"] == 0


def test_a_ledger_that_cannot_be_opened_is_down_and_the_page_still_comes(
    tmp_path: Path, spool: Spool
) -> None:
    broken = Ledger(f"sqlite:///{tmp_path}/there-are-no-tables.sqlite3")
    found = scrape(LedgerMetrics(Settings(), broken, spool))
    assert found["lobar_ledger_up"] == 0
    assert "lobar_balance" not in found
    assert found["lobar_spool_free_bytes"] > 0


def test_a_ledger_that_is_silent_is_down_and_the_page_still_comes(spool: Spool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        ledger = Ledger(f"postgresql+psycopg://lobar@127.0.0.1:{port}/lobar")
        assert scrape(LedgerMetrics(Settings(), ledger, spool))["lobar_ledger_up"] == 0
    ledger.close()


def test_queue_depths_come_from_redis_and_its_absence_is_shown(
    ledger: Ledger, spool: Spool, redis_server: RedisServer
) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        client.lpush("infer", "a message", "another")
    collector = LedgerMetrics(Settings(redis={"url": redis_server.url}), ledger, spool)
    found = scrape(collector)
    assert found["lobar_redis_up"] == 1
    assert found['lobar_queue_depth{queue="infer"}'] == 2
    assert found['lobar_queue_depth{queue="deliver"}'] == 0
    redis_server.stop()
    found = scrape(collector)
    assert found["lobar_redis_up"] == 0
    assert found["lobar_ledger_up"] == 1


def test_promtool_finds_nothing_to_complain_about(
    ledger: Ledger, spool: Spool, program: Callable[[str], Path]
) -> None:
    receive(ledger)
    metrics.INSTANCES_REJECTED.labels(reason=Reason.TRUNCATED).inc()
    page, _ = exposition(LedgerMetrics(Settings(destinations=(PACS,)), ledger, spool))
    ours = "\n".join(
        line for line in page.decode().splitlines() if re.match(r"(# (HELP|TYPE) )?lobar_", line)
    )
    checked = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=ours + "\n",
        text=True,
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_scraper_that_asks_for_openmetrics_gets_it(ledger: Ledger, spool: Spool) -> None:
    page, content_type = exposition(
        LedgerMetrics(Settings(), ledger, spool), "application/openmetrics-text; version=1.0.0"
    )
    assert content_type.startswith("application/openmetrics-text")
    assert page.endswith(b"# EOF\n")


def _names(ledger: Ledger, spool: Spool) -> Iterator[str]:
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            yield from (
                family.name + ("_total" if family.type == "counter" else "")
                for family in metric.collect()
            )
    yield from (family.name for family in LedgerMetrics(Settings(), ledger, spool).collect())


def test_every_metric_is_documented_and_nothing_else_is(ledger: Ledger, spool: Spool) -> None:
    documented = re.findall(r"^\| `(lobar_\w+)`", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    assert len(documented) == len(set(documented))
    assert set(documented) == set(_names(ledger, spool))


def test_each_metric_is_documented_with_its_labels_and_its_help() -> None:
    text = DOCUMENT.read_text("utf-8")
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (row,) = re.findall(rf"^\| `{metric._name}(?:_total)?` .*$", text, re.MULTILINE)
            assert metric._documentation in row
            assert all(f"`{label}`" in row for label in metric._labelnames)
