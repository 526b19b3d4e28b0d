"""The status page, and what an operator does from it."""

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from sqlalchemy import update
from support.routes import to
from support.system.ports import LOOPBACK
from support.web_server import Web

from service.domain.audit import Action
from service.domain.delivery import OutputRecord, Reference
from service.domain.job import ConclusionRecord, JobState
from service.domain.reasons import Reason
from service.domain.user import Role
from service.storage.ledger.clock import SchedulingClock, same
from service.storage.ledger.tables import CLOCKS, HEARTBEATS
from service.web.pages.status import MOST_AT_ONCE, WHAT_TO_DO

REPORT = OutputRecord(
    kind="sr", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", sop_instance_uid="2.25.77"
)
CONCLUSION = ConclusionRecord(
    finding="present", probability=0.87654, operating_point="screening", model="pneumonia 1.2"
)


def parked(web: Web, reason: Reason = Reason.REPORT_FAILED) -> str:
    job_id = web.receive()
    (job,) = web.ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    web.ledger.jobs.park(job, reason)
    return job_id


def reported(web: Web, destinations: list[str]) -> str:
    job_id = web.receive()
    (job,) = web.ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    web.ledger.jobs.report(job, CONCLUSION, [REPORT], to(destinations))
    return job_id


def words(page: str) -> str:
    """Return the text of a page in one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_an_empty_ledger_says_how_to_begin_and_which_setting_is_missing(tmp_path: Path) -> None:
    with Web(tmp_path / "state", destinations=()).running() as web:
        page = words(web.client.get("/status").text)
        assert "Nothing has been received yet. Have a modality or PACS store to LOBAR at" in page
        assert "upload a radiograph" in page
        assert "No destination is configured." in page
        assert "[[destinations]]" in page


def test_the_page_names_the_parts_that_do_not_run(web: Web) -> None:
    web.ledger.heartbeats.beat("listener", "here/listener/1/", ready=True)
    web.ledger.heartbeats.beat("infer", "here/infer/2/", ready=True, progress=False)
    page = words(web.client.get("/status").text)
    assert "listener ready 1" in page
    assert "infer makes no progress 1" in page
    assert "relay: no process is ready" in page
    assert "redis does not answer" in page


def test_the_page_says_on_how_many_machines_a_part_runs(web: Web) -> None:
    web.ledger.heartbeats.beat("infer", "a/infer/7/", ready=True)
    web.ledger.heartbeats.beat("infer", "a/infer/8/", ready=True)
    web.ledger.heartbeats.beat("infer", "b/infer/7/", ready=False)
    web.ledger.heartbeats.beat("relay", "b/relay/9/", ready=True)
    page = words(web.client.get("/status").text)
    assert "infer ready 3, 2 ready, on 2 machines" in page
    assert re.search(r"relay ready 1 \d", page)


def test_a_quiet_service_needs_nobody(web: Web) -> None:
    for role in ("listener", "relay", "infer", "deliver", "web"):
        web.ledger.heartbeats.beat(role, f"here/{role}/1/", ready=True)
    page = words(web.client.get("/status").text)
    assert "Nothing: no job is parked, and every part is ready." in page


def test_a_worker_that_loads_its_model_is_no_alarm(web: Web) -> None:
    for role in ("listener", "relay", "deliver", "web"):
        web.ledger.heartbeats.beat(role, f"here/{role}/1/", ready=True)
    web.ledger.heartbeats.beat("infer", "here/infer/1/", ready=False)
    page = words(web.client.get("/status").text)
    assert "infer is loading the model" in page
    assert "infer: no process is ready" not in page
    assert "Nothing: no job is parked" not in page
    web.ledger.heartbeats.beat("infer", "here/infer/1/", ready=False, progress=False)
    page = words(web.client.get("/status").text)
    assert "infer is loading the model" not in page
    assert "infer: makes no progress" in page


def test_an_age_stays_an_age_in_a_browser(web: Web, browser: Browser) -> None:
    reported(web, ["pacs"])
    (delivery,) = web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
    web.ledger.deliveries.refused(delivery, status=0x0122, again_in=60)
    page = browser.new_page()
    page.goto(f"http://{LOOPBACK}:{web.port}/status")
    page.wait_for_selector("time[data-local]")
    row = page.locator("#status-destinations tbody tr").inner_text()
    assert re.search(r"\d+\.\d s ago, refused", row)
    axis = page.locator(".time-axis time").all_inner_texts()
    assert [bool(re.fullmatch(r"\d\d:\d\d", each)) for each in axis] == [True] * 7
    page.close()


def test_what_flows_is_counted_by_stage_with_latencies_and_model(web: Web) -> None:
    reported(web, ["pacs"])
    (delivery,) = web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
    web.ledger.deliveries.delivered(delivery, status=0xB000)
    reported(web, ["pacs"])
    web.receive()
    web.receive()
    web.ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    page = words(web.client.get("/status").text)
    assert re.search(r"Jobs received, to be read 1 1 0 \d+\.\d s \d+\.\d s \d+\.\d s", page)
    assert "Outputs to send to pacs 1 0 0" in page
    assert "pacs yes" in page
    assert "0xB000 Warning" in page
    assert "pneumonia 1.2, operating point screening" in page
    assert "4 received in all" in page


def test_a_destination_that_does_not_answer_is_shown_with_its_failure(web: Web) -> None:
    reported(web, ["pacs"])
    (delivery,) = web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
    web.ledger.deliveries.unreached(delivery, again_in=60, why="no-connection")
    web.ledger.deliveries.open_breaker("pacs", lambda n: 60.0 * n)
    page = words(web.client.get("/status").text)
    assert "pacs no 1 in a row, next try in" in page
    assert "pacs does not answer : 1 failure in a row, and it has never taken anything" in page
    assert "1 output waits, none is lost. Check its host and port, or run lobar check" in page
    assert "Nothing: no job is parked" not in page
    assert "never" in page
    assert "no connection" in page


def test_a_refusal_is_shown_with_its_status_in_words(web: Web) -> None:
    reported(web, ["pacs"])
    (delivery,) = web.ledger.deliveries.lease("pacs", "test/", 1, lease_seconds=60)
    web.ledger.deliveries.refused(delivery, status=0x0122, again_in=60)
    page = words(web.client.get("/status").text)
    assert "refused: 0x0122 Failure" in page


def test_a_clock_that_was_set_is_named_and_heartbeats_are_shown_as_it_says(web: Web) -> None:
    web.ledger.heartbeats.beat("relay", "host/relay/1/", ready=True)
    assert "The clock of this machine" not in words(web.client.get("/status").text)
    with web.ledger._database.write() as connection:
        for row, column in ((CLOCKS, CLOCKS.c.boot_at), (HEARTBEATS, HEARTBEATS.c.at)):
            connection.execute(update(row).values({column: column + 7200}))
    assert isinstance(web.ledger._clock, SchedulingClock)
    web.ledger._clock.start()
    page = words(web.client.get("/status").text)
    assert "The clock of this machine is 2.0 h behind the time by which work is scheduled" in page
    assert re.search(r"relay ready 1 \d+\.\d s", page), "not two hours ago, and not in two hours"


def test_a_commitment_request_without_a_result_is_shown_after_ten_minutes(web: Web) -> None:
    requests = web.ledger.commitment_requests
    instances = [Reference("1.2.840.10008.5.1.4.1.1.1", "2.25.9")]
    requests.receive("MODALITY", "2.25.1", instances)
    assert "commitment request" not in words(web.client.get("/status").text)
    requests._clock = same(lambda: time.time() - 700)
    requests.receive("ARCHIVE", "2.25.2", instances)
    page = words(web.client.get("/status").text)
    assert "1 commitment request of ARCHIVE waits for a result, the oldest for 11.7 min" in page


def test_parked_jobs_are_grouped_by_reason_with_what_to_do(web: Web) -> None:
    ids = [parked(web) for _ in range(12)]
    parked(web, Reason.BYTES_MISSING)
    page = web.client.get("/status").text
    assert "12 parked: No valid report could be built" in words(page)
    assert "1 parked: The spooled bytes are gone or damaged." in words(page)
    assert page.index("12 parked") < page.index("1 parked: The spooled")
    assert "The oldest 10" in words(page)
    assert f'action="/jobs/{ids[0]}/requeue"' in page
    assert f'action="/jobs/{ids[0]}/dismiss"' in page
    assert 'name="next" value="/status?requeued=1"' in page
    assert 'name="next" value="/status?dismissed=1"' in page
    assert f"/jobs/{ids[11]}" not in page


def test_every_reason_for_parking_has_something_to_do() -> None:
    reasons = list(Reason)
    assert list(WHAT_TO_DO) == reasons[reasons.index(Reason.ATTEMPTS_EXHAUSTED) :]


def test_a_group_is_requeued_with_one_click_and_audited(web: Web) -> None:
    ids = {parked(web) for _ in range(3)}
    other = parked(web, Reason.BYTES_MISSING)
    answer = web.client.post(
        "/status/requeue", data={"reason_code": "report-failed"}, follow_redirects=True
    )
    assert "3 jobs requeued." in answer.text
    assert {each.id for each in web.ledger.queries.recent(state=JobState.RECEIVED)} == ids
    assert web.ledger.queries.job(other).state is JobState.PARKED  # type: ignore[union-attr]
    records = web.ledger.audit.recent()
    assert {(each.action, each.job_id) for each in records} == {(Action.REQUEUE, i) for i in ids}
    assert {each.detail["of_group"] for each in records} == {"report-failed"}


def test_a_group_is_dismissed_with_a_reason_and_audited_without_it(web: Web) -> None:
    ids = {parked(web) for _ in range(2)}
    form = {"reason_code": "report-failed", "reason": "  films of a\nphantom "}
    answer = web.client.post("/status/dismiss", data=form, follow_redirects=True)
    assert "2 jobs dismissed." in answer.text
    assert {each.id for each in web.ledger.queries.recent(state=JobState.DISMISSED)} == ids
    trace = web.ledger.queries.trace(ids.pop())
    assert trace[-1].detail["why"] == "films of a phantom"
    assert "phantom" not in str(web.ledger.audit.recent())


@pytest.mark.parametrize("reason", ["", "   ", "\x07", "x" * 501, "\N{RIGHT-TO-LEFT OVERRIDE}a"])
def test_a_dismissal_without_a_readable_reason_is_refused(web: Web, reason: str) -> None:
    job_id = parked(web)
    form = {"reason_code": "report-failed", "reason": reason}
    assert web.client.post("/status/dismiss", data=form).status_code == 422
    assert web.ledger.queries.job(job_id).state is JobState.PARKED  # type: ignore[union-attr]


@pytest.mark.parametrize("path", ["/status/requeue", "/status/dismiss"])
@pytest.mark.parametrize("code", ["", "nothing", "report-failed'--"])
def test_an_unknown_reason_is_refused(web: Web, path: str, code: str) -> None:
    form = {"reason_code": code, "reason": "why"}
    assert web.client.post(path, data=form).status_code == 422


@pytest.mark.parametrize("reason", [Reason.NO_DESTINATION, Reason.DESTINATION_REMOVED])
def test_without_a_destination_its_jobs_cannot_be_requeued(tmp_path: Path, reason: Reason) -> None:
    with Web(tmp_path / "state", destinations=()).running() as web:
        job_id = parked(web, reason)
        page = web.client.get("/status").text
        assert reason in page
        assert "/requeue" not in page
        answer = web.client.post("/status/requeue", data={"reason_code": str(reason)})
        assert answer.status_code == 409
        assert web.client.post(f"/jobs/{job_id}/requeue").status_code == 409


def test_a_group_without_a_destination_says_so_of_the_past_once_there_is_one(web: Web) -> None:
    reported(web, [])
    page = words(web.client.get("/status").text)
    assert "1 parked: Had no destination when it was reported." in page
    assert "No destination is configured" not in page


def test_one_job_requeued_from_here_is_noticed(web: Web) -> None:
    job_id = parked(web)
    answer = web.client.post(
        f"/jobs/{job_id}/requeue", data={"next": "/status?requeued=1"}, follow_redirects=True
    )
    assert "1 job requeued." in answer.text


def test_one_click_changes_a_bounded_number(web: Web) -> None:
    for _ in range(MOST_AT_ONCE + 1):
        parked(web)
    page = web.client.get("/status").text
    assert f"Requeue the oldest {MOST_AT_ONCE}" in page
    answer = web.client.post("/status/requeue", data={"reason_code": "report-failed"})
    assert answer.headers["location"] == f"/status?requeued={MOST_AT_ONCE}"
    assert web.ledger.queries.job_counts().by_state[JobState.PARKED] == 1


@pytest.mark.parametrize("query", ["requeued=-1", "requeued=x", "dismissed=1000000"])
def test_a_forged_notice_is_refused(empty_web: Web, query: str) -> None:
    assert empty_web.client.get(f"/status?{query}").status_code == 422


def test_who_may_not_operate_sees_no_forms_and_can_change_nothing(web: Web) -> None:
    job_id = parked(web)
    viewer, operator = web.sign_in(Role.VIEWER), web.sign_in(Role.OPERATOR)
    page = viewer.get("/status").text
    assert job_id in page
    assert "<form" not in page[page.index("<main") : page.index("</main>")]
    for path in ("/status/requeue", "/status/dismiss"):
        form = {"reason_code": "report-failed", "reason": "why"}
        assert viewer.post(path, data=form).status_code == 403
        assert web.client.post(path, data=form).status_code == 401
    assert 'name="csrf_token"' in operator.get("/status").text
    del operator.headers["X-CSRF-Token"]
    forged = {"reason_code": "report-failed", "csrf_token": "x"}
    assert operator.post("/status/requeue", data=forged).status_code == 403
    assert web.ledger.queries.job(job_id).state is JobState.PARKED  # type: ignore[union-attr]


def test_the_live_part_has_the_same_sections_and_no_frame(web: Web) -> None:
    parked(web)
    whole, live = web.client.get("/status").text, web.client.get("/status/live").text
    sections: Callable[[str], list[str]] = re.compile(r'<section id="(\S+)"').findall
    assert sections(whole) == sections(live)
    assert len(sections(live)) == 5
    assert "<html" not in live
    assert '<noscript><meta http-equiv="refresh"' in whole
