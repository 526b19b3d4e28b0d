"""The audit trail on the pages: what is recorded of a request, and who may read it."""

import csv
import io
import uuid
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi import Request
from prometheus_client import REGISTRY
from support.web_server import Web

from service.domain.audit import Action, AuditOutcome, AuditRecord
from service.domain.job import Instance
from service.domain.patient import Patient
from service.domain.user import Role
from service.storage.ledger import Ledger
from service.web.trail import Trail

RECORD = AuditRecord(at=1764424800, action=Action.VIEW, user="ann", role="viewer", address="::1")


@pytest.fixture
def admin(web: Web) -> httpx.Client:
    return web.sign_in(Role.ADMIN)


@pytest.fixture
def filled(web: Web) -> Web:
    """A web server with records of three people."""
    records = [
        replace(RECORD, job_id="a" * 32, patient_id="PAT-1"),
        replace(RECORD, user="bob", at=RECORD.at + 86_400, action=Action.DOWNLOAD),
        replace(RECORD, user="<b>eve</b>", at=RECORD.at + 2 * 86_400, patient_id="=1+1"),
        replace(RECORD, user="bob", action=Action.SIGN_IN, outcome=AuditOutcome.FAILURE),
    ]
    for record in records:
        web.ledger.audit.append(record)
    return web


def receive(ledger: Ledger, patient_id: str) -> str:
    job_id = uuid.uuid4().hex
    ledger.jobs.receive(
        Instance(
            job_id=job_id,
            sop_instance_uid="1.2.3.4",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
            series_instance_uid="1.2.3.3",
            study_instance_uid="1.2.3",
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            digest="0" * 64,
            size_bytes=10,
            calling_ae_title="MODALITY",
        ),
        Patient(patient_name="DOE^JANE", patient_id=patient_id),
    )
    return job_id


def last(ledger: Ledger) -> AuditRecord:
    return ledger.audit.recent(1)[0]


def counted(action: Action, outcome: str = "success") -> float:
    labels = {"action": str(action), "outcome": outcome}
    return REGISTRY.get_sample_value("lobar_audit_records_total", labels) or 0


def test_a_view_is_recorded_with_who_from_where_and_whose(web: Web) -> None:
    job_id = receive(web.ledger, "PAT-7")
    before = counted(Action.VIEW)
    assert web.sign_in(Role.VIEWER, "ann").get(f"/jobs/{job_id}").status_code == 200
    record = last(web.ledger)
    assert (record.action, record.user, record.role) == (Action.VIEW, "ann", "viewer")
    assert record.address == "127.0.0.1"
    assert (record.job_id, record.patient_id) == (job_id, "PAT-7")
    assert (record.study_instance_uid, record.sop_instance_uid) == ("1.2.3", "1.2.3.4")
    assert counted(Action.VIEW) == before + 1


def test_a_patient_without_an_id_is_recorded_as_unknown(web: Web) -> None:
    web.client.get(f"/jobs/{receive(web.ledger, '')}")
    assert last(web.ledger).patient_id is None


def test_what_was_not_permitted_is_recorded(web: Web) -> None:
    viewer = web.sign_in(Role.VIEWER, "ann")
    job_id = receive(web.ledger, "PAT-7")
    assert viewer.post(f"/jobs/{job_id}/requeue").status_code == 403
    record = last(web.ledger)
    assert (record.action, record.outcome) == (Action.DENIED, AuditOutcome.FAILURE)
    assert record.user == "ann"
    assert record.detail == {
        "route": "/jobs/{job_id}/requeue",
        "permission": "operate",
        "method": "POST",
    }


def test_a_form_of_another_session_is_recorded(web: Web) -> None:
    operator = web.sign_in(Role.OPERATOR, "oli")
    job_id = receive(web.ledger, "PAT-7")
    refused = operator.post(f"/jobs/{job_id}/requeue", headers={"X-CSRF-Token": "forged"})
    assert refused.status_code == 403
    assert last(web.ledger).detail["why"] == "csrf-token"


def test_who_is_not_known_cannot_fill_the_trail(web: Web) -> None:
    assert web.client.get("/audit").status_code == 403, "there is no user yet"
    web.sign_in(Role.ADMIN)
    assert web.client.get("/audit").status_code == 303  # to the sign-in
    assert web.ledger.audit.recent() == []


def test_the_address_is_cut_to_what_the_ledger_takes(web: Web) -> None:
    request = Request({"type": "http", "headers": [], "client": ("203.0.113.9" * 20, 1)})
    Trail(web.ledger, lambda: 7.0).record(request, Action.SEARCH)
    assert last(web.ledger).address == ("203.0.113.9" * 20)[:64]


def test_the_start_of_the_server_is_recorded_and_a_silent_ledger_does_not_end_it(
    web: Web, tmp_path: Path
) -> None:
    Trail(web.ledger, lambda: 7.0).record_server(Action.START)
    record = last(web.ledger)
    assert (record.action, record.at, record.user) == (Action.START, 7.0, "")
    empty = Ledger(f"sqlite:///{tmp_path}/empty.sqlite3")  # it has no table
    Trail(empty).record_server(Action.STOP)
    empty.close()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RADIOLOGIST, Role.OPERATOR])
@pytest.mark.parametrize("path", ["/audit", "/audit.csv"])
def test_only_an_administrator_reads_it(web: Web, role: Role, path: str) -> None:
    assert web.sign_in(role).get(path).status_code == 403


def test_it_is_shown_newest_first_and_that_is_recorded(filled: Web, admin: httpx.Client) -> None:
    page = admin.get("/audit").text
    assert "&lt;b&gt;eve&lt;/b&gt;" in page
    assert "<b>eve" not in page
    assert page.index("sign-in</td>") < page.index("download</td>")
    assert f'href="/jobs/{"a" * 32}"' in page
    record = last(filled.ledger)
    assert (record.action, record.user) == (Action.VIEW, "admin")
    assert record.detail == {"what": "audit-trail"}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("user=bob", ["download", "sign-in"]),
        ("user=bob&action=download", ["download"]),
        ("outcome=failure", ["sign-in"]),
        (f"job={'a' * 32}", ["view"]),
        ("patient=PAT-1", ["view"]),
        ("since=2025-11-30&until=2025-12-01T00:00", ["download"]),
        ("user=bob&action=&outcome=&job=&patient=&since=&until=2025-11-30", ["sign-in"]),
        ("user=nobody", []),
    ],
)
def test_the_table_has_what_passes_the_filter(
    filled: Web, admin: httpx.Client, query: str, found: list[str]
) -> None:
    del filled
    rows = list(csv.DictReader(io.StringIO(admin.get(f"/audit.csv?{query}").text)))
    assert [row["action"] for row in rows] == found
    page = admin.get(f"/audit?{query}").text
    assert page.count("<td>") == (7 * len(found) - len(found))
    assert ("No record passes" in page) == (not found)


def test_the_table_cannot_calculate_and_its_export_is_recorded(
    filled: Web, admin: httpx.Client
) -> None:
    answer = admin.get("/audit.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "audit.csv" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["patient_id"] for row in rows[:3]] == ["PAT-1", "", "'=1+1"]
    assert rows[0]["time"] == "2025-11-29T14:00:00.000+00:00"
    assert rows[-1]["action"] == "export"
    assert last(filled.ledger).action is Action.EXPORT


def test_all_records_are_reached_by_the_link_to_older_ones(web: Web, admin: httpx.Client) -> None:
    for n in range(230):
        web.ledger.audit.append(replace(RECORD, user="ann", detail={"n": n}))
    seen: list[int] = []
    path: str | None = "/audit?user=ann"
    while path:
        page = admin.get(path).text
        seen += [int(cell.split("<")[0]) for cell in page.split('<td class="details">n ')[1:]]
        link = page.partition('rel="next" href="')[2].partition('"')[0]
        path = link.replace("&amp;", "&") or None
    assert seen == list(range(229, -1, -1))


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("action=stare", "action"),
        ("outcome=maybe", "outcome"),
        ("since=yesterday", "since"),
        ("until=99999-01-01", "until"),
        ("user=" + "x" * 65, "user"),
        ("patient=a%00b", "patient"),
        ("before=0", "before"),
        ("before=" + "9" * 30, "before"),
    ],
)
def test_a_filter_that_cannot_be_understood_is_explained(
    web: Web, admin: httpx.Client, query: str, said: str
) -> None:
    del web
    answer = admin.get(f"/audit?{query}")
    assert answer.status_code == 422
    assert said in answer.text
