"""The page of the worklist and its search."""

import html
import re
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser
from support.routes import to
from support.web_server import Web, part10, picture
from synthetic.objects import make_cr

from service.domain.audit import Action, AuditRecord
from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, Instance, OtherAbnormality
from service.domain.patient import Patient
from service.domain.reasons import Reason
from service.domain.user import Role
from service.storage.ledger.clock import same
from service.web.access import SESSION_COOKIE
from service.web.trail import Recent

REPORT = OutputRecord(
    kind="sr", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", sop_instance_uid="2.25.77"
)
CONCLUSION = ConclusionRecord(
    finding="present",
    probability=0.87654,
    operating_point="screening",
    model="pneumonia 1.2",
    threshold=0.4,
    indeterminate_low=0.3,
    indeterminate_high=0.5,
)
DOE = Patient(
    patient_name="Doe^Jane",
    patient_id="PID-1",
    accession_number="ACC-1",
    sex="F",
    birth_date="20200102",
    modality="CR",
    view_position="PA",
)
ROW = re.compile(r'<tr role="row" data-job="([0-9a-f]{32})">')


def receive(web: Web, patient: Patient = DOE, **changes: str) -> str:
    """Record a job of a patient as the listener would."""
    job_id, uid = uuid.uuid4().hex, f"2.25.{uuid.uuid4().int}"
    values: dict[str, Any] = {
        "sop_instance_uid": uid,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1",
        "series_instance_uid": uid,
        "study_instance_uid": uid,
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "digest": "0" * 64,
        "calling_ae_title": "MODALITY",
        **changes,
    }
    web.ledger.jobs.receive(Instance(job_id=job_id, size_bytes=10, **values), patient)
    return job_id


def reported(
    web: Web, conclusion: ConclusionRecord = CONCLUSION, patient: Patient = DOE, **changes: str
) -> str:
    job_id = receive(web, patient, **changes)
    leased = web.ledger.jobs.lease("test/", 1000, lease_seconds=0, maximum_attempts=1000)
    job = next(each for each in leased if each.id == job_id)
    web.ledger.jobs.report(job, conclusion, [REPORT], to(["pacs"]))
    return job_id


def parked(web: Web) -> str:
    job_id = receive(web)
    leased = web.ledger.jobs.lease("test/", 1000, lease_seconds=0, maximum_attempts=1000)
    web.ledger.jobs.park(next(each for each in leased if each.id == job_id), Reason.REPORT_FAILED)
    return job_id


def rows(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return ROW.findall(answer.text)


def searches(web: Web) -> list[AuditRecord]:
    """List the searches in the audit trail, the oldest first."""
    recent = web.ledger.audit.recent(1000)
    return [each for each in reversed(recent) if each.action is Action.SEARCH]


def test_an_empty_ledger_says_what_to_do(empty_web: Web) -> None:
    page = empty_web.client.get("/").text
    assert "Nothing has been received yet" in page
    assert 'href="/upload"' in page
    assert "Not a medical device" in page


def test_a_row_shows_state_finding_probability_and_patient(web: Web) -> None:
    job_id = reported(web)
    page = web.sign_in(Role.RADIOLOGIST).get("/").text
    for shown in (
        *("Reported", '<span class="badge finding-present">present</span>', "0.877"),
        *(
            "Doe, Jane",
            "PID-1",
            "ACC-1",
            "CR PA",
            "MODALITY",
            "F 2020-01-02",
            f'href="/jobs/{job_id}"',
        ),
        "Probability 0.877, operating point 0.400, indeterminate from 0.300 to 0.500",
        '<rect class="band" x="30.0" width="20.0" height="12"/>',
        '<line class="point" x1="40.0" x2="40.0" y1="0" y2="12"/>',
    ):
        assert shown in page


@pytest.mark.parametrize("other", ["present", "absent", "indeterminate"])
@pytest.mark.parametrize("finding", ["present", "absent", "indeterminate"])
def test_the_list_shows_both_findings(web: Web, finding: str, other: str) -> None:
    read = OtherAbnormality(finding=other, probability=0.91234, operating_point="sensitive")
    reported(web, replace(CONCLUSION, finding=finding, other=read))
    badge = '<span class="badge finding-{0}">{0}</span>'
    listed = web.client.get("/").text
    assert f'data-label="Pneumonia">{badge.format(finding)}</td>' in listed
    assert f'data-label="Other abnormality">{badge.format(other)} 0.912</td>' in listed


def test_positives_come_first_and_the_page_says_so(web: Web) -> None:
    absent = reported(web, replace(CONCLUSION, finding="absent"))
    present = reported(web)
    answer = web.client.get("/")
    assert rows(answer) == [present, absent]
    assert "positives first, then the oldest" in answer.text
    assert rows(web.client.get("/?order=newest")) == [present, absent]


def test_a_state_filters_the_list_and_its_count_is_shown(web: Web) -> None:
    one, _other = parked(web), reported(web)
    answer = web.client.get("/", params={"state": "parked"})
    assert rows(answer) == [one]
    assert re.search(r"<b>1</b> Parked", answer.text)
    assert re.search(r"<b>2</b> All", answer.text)
    assert "report-failed" in answer.text


def test_blank_fields_of_the_form_ask_for_nothing(web: Web) -> None:
    job_id = receive(web)
    blank = "/?q=&state=&finding=&ae=&period=&first=&last=&verdict=&order=priority"
    assert rows(web.client.get(blank)) == [job_id]


@pytest.mark.parametrize(
    ("query", "is_found"),
    [
        ("finding=present", True),
        ("finding=absent", False),
        ("finding=absent&finding=present", True),
        ("ae=MODALITY", True),
        ("ae=OTHER", False),
        ("period=24h", True),
        ("first=2020-01-01", True),
        ("last=2020-01-01", False),
        ("verdict=missing", True),
        ("verdict=given", False),
        ("state=parked", False),
        ("state=reported&finding=present&ae=MODALITY", True),
    ],
)
def test_each_filter_is_in_the_address(web: Web, query: str, *, is_found: bool) -> None:
    job_id = reported(web)
    answer = web.client.get(f"/?{query}")
    assert rows(answer) == ([job_id] if is_found else [])
    assert ("Nothing found" in answer.text) is not is_found


def test_a_chip_removes_its_condition_alone(web: Web) -> None:
    reported(web)
    page = web.client.get("/?state=reported&finding=absent&ae=MODALITY").text
    addresses = map(html.unescape, re.findall(r'<li><a href="([^"]+)" aria-label', page))
    assert list(addresses) == [
        "/?finding=absent&ae=MODALITY",
        "/?state=reported&ae=MODALITY",
        "/?state=reported&finding=absent",
    ]


def test_old_instances_are_behind_one_click(tmp_path: Path) -> None:
    web = Web(tmp_path / "state")
    web.ledger.jobs._receipts._clock = same(
        lambda: time.time() - 8 * 86400
    )  # received eight days ago
    old = receive(web)
    with web.running():
        page = web.client.get("/")
        assert rows(page) == []
        assert "Nothing was received in the last 7 days" in page.text
        (address,) = re.findall(r'href="([^"]+)">show all time', page.text)
        assert rows(web.client.get(html.unescape(address))) == [old]
        assert rows(web.client.get("/", params={"q": old[:8]})) == [old]


def test_the_rows_after_fifty_are_on_the_next_page(web: Web) -> None:
    jobs = [receive(web) for _ in range(53)]
    first = web.client.get("/")
    following = re.search(r'rel="next" href="([^"]+)"', first.text)
    assert following is not None
    second = web.client.get(html.unescape(following.group(1)))
    assert (rows(first), rows(second)) == (jobs[:50], jobs[50:])
    assert "First page" in second.text


@pytest.mark.parametrize(
    "query",
    [
        *("state=lost", "finding=none", "period=never", "verdict=agree", "order=x"),
        *("first=yesterday", "last=2026-02-30", "first=9999-12-31", "last=99999-01-01"),
        *("after=x", "after=0_1_2", f"ae={'A' * 17}", f"q={'a' * 10_000}", "first=2026-W01-1x"),
    ],
)
def test_an_address_that_no_form_makes_is_refused_with_a_sentence(
    empty_web: Web, query: str
) -> None:
    answer = empty_web.client.get(f"/?{query}")
    assert answer.status_code == 422
    assert "This cannot be used as it is" in answer.text
    assert len(answer.text) < 5000


def test_the_script_gets_only_what_changes(web: Web) -> None:
    job_id = receive(web)
    answer = web.client.get("/", headers={"HX-Request": "true"})
    assert rows(answer) == [job_id]
    assert "<html" not in answer.text
    assert re.search(r'data-revision="[0-9-]+"', answer.text)


# -- patients


@pytest.mark.parametrize("role", [None, Role.OPERATOR])
def test_who_may_not_see_patients_sees_none_and_reads_why(web: Web, role: Role | None) -> None:
    job_id = reported(web)
    client = web.client if role is None else web.sign_in(role)
    page = client.get("/")
    assert rows(page) == [job_id]
    for secret in ("Doe", "Jane", "PID-1", "ACC-1", "2020-01-02"):
        assert secret not in page.text
    assert "Names and numbers of patients are left out" in page.text
    assert ("lobar user add" if role is None else "your role, operator") in page.text


@pytest.mark.parametrize("role", [None, Role.OPERATOR])
@pytest.mark.parametrize("text", ["Doe", "jane", "PID-1", "ACC-1", "doe jane"])
def test_a_search_without_the_permission_is_no_oracle(
    web: Web, role: Role | None, text: str
) -> None:
    receive(web)
    client = web.client if role is None else web.sign_in(role)
    found, nobody = (client.get("/", params={"q": each}) for each in (text, "Nobody"))
    assert rows(found) == rows(nobody) == []
    assert found.text.replace(text, "Nobody").replace(quote(text, safe=""), "Nobody").replace(
        text.replace(" ", "+"), "Nobody"
    ) == (nobody.text)
    answer = client.get("/find", params={"q": text})
    assert answer.headers["location"].startswith("/?q=")


@pytest.mark.parametrize("text", ["doe", "JANE", "doe^ja", "pid-1", "acc-1", "Jane Doe"])
def test_a_patient_is_found_by_name_and_numbers(web: Web, text: str) -> None:
    job_id = receive(web)
    receive(web, Patient(patient_name="Other^One"))
    client = web.sign_in(Role.VIEWER)
    assert rows(client.get("/", params={"q": text})) == [job_id]
    answer = client.get("/find", params={"q": text})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job_id}")


def test_markup_and_direction_marks_in_a_name_are_text(web: Web) -> None:
    name = "<script>alert(1)</script>^\"'onload=x"
    job_id = receive(web, Patient(patient_name=name, patient_id="<b>", accession_number="'>"))
    client = web.sign_in(Role.RADIOLOGIST)
    for path in ("/", "/?q=%3Cscript%3E", "/?q=%3Cimg+src%3Dx+onerror%3Dx%3E"):
        page = client.get(path).text
        assert "<script>alert" not in page
        assert "<b>1</b>" in page
        assert "<img" not in page
    page = client.get("/").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<bdi>&lt;b&gt;</bdi>" in page
    assert rows(client.get("/", params={"q": "<script>"})) == [job_id]


def test_a_name_written_from_right_to_left_stays_in_its_cell(web: Web) -> None:
    given = "דבורה"
    job_id = receive(web, Patient(patient_name=f"שרון^{given}"))
    client = web.sign_in(Role.RADIOLOGIST)
    assert f"<bdi>שרון, {given}</bdi>" in client.get("/").text
    assert rows(client.get("/", params={"q": given})) == [job_id]
    marked = client.get("/", params={"q": f"\u202e{given}"})
    assert rows(marked) == [job_id]
    assert "\u202e" not in marked.text


@pytest.mark.parametrize(
    "text", ["%", "_", "%%", "'", "' OR '1'='1", "\\", "\x00", "\x07\x1b[2J", "\r\nSet-Cookie: a=b"]
)
def test_signs_of_a_query_or_a_terminal_find_nothing_and_break_nothing(web: Web, text: str) -> None:
    receive(web)
    client = web.sign_in(Role.RADIOLOGIST)
    answer = client.get("/", params={"q": text})
    assert answer.status_code == 200
    is_blank = not text.strip("\x00")
    assert len(rows(answer)) == is_blank
    found = client.get("/find", params={"q": text})
    assert found.status_code == 303
    assert "\n" not in found.headers["location"]
    assert "set-cookie" not in {name.lower() for name in found.headers}


def test_a_day_at_the_end_of_the_calendar_breaks_nothing(empty_web: Web) -> None:
    for day in ("0001-01-01", "1969-12-31", "9999-12-30", "9999-12-31"):
        assert empty_web.client.get("/", params={"first": day}).status_code in {200, 422}


def test_ten_thousand_characters_are_refused_before_anything_is_searched(web: Web) -> None:
    client = web.sign_in(Role.RADIOLOGIST)
    for path in ("/", "/find"):
        answer = client.get(path, params={"q": "a" * 10_000})
        assert answer.status_code == 422
        assert "q may have 200 characters" in answer.text
    assert searches(web) == []


def test_a_received_file_shows_its_patient_after_a_sign_in_only(web: Web, tmp_path: Path) -> None:
    dataset = make_cr(patient_name="Geheim^Jérôme", charset="ISO_IR 100")
    answer = web.send(part10(dataset, tmp_path))
    job_id = answer.json()["instances"][0]["job_id"]
    assert "Geheim" not in web.client.get("/").text
    page = web.sign_in(Role.RADIOLOGIST).get("/").text
    assert "Geheim, Jérôme" in page
    assert job_id in page


def test_an_uploaded_picture_is_no_patients(web: Web) -> None:
    job_id = web.send(picture()).json()["instances"][0]["job_id"]
    patient = web.ledger.patients.of(job_id)
    assert patient is not None
    assert (patient.patient_name, patient.accession_number) == ("UPLOADED^PICTURE", "")
    assert "UPLOADED, PICTURE" in web.sign_in(Role.RADIOLOGIST).get("/").text


def test_a_job_without_a_patient_is_not_named(web: Web) -> None:
    web.receive()
    receive(web, Patient())
    page = web.sign_in(Role.RADIOLOGIST).get("/").text
    assert page.count("not named") == 2


# -- the search of the header


def test_a_job_is_found_by_its_id_and_by_the_uid_of_its_report(web: Web) -> None:
    job_id = reported(web)
    for text in (job_id, job_id[:8], REPORT.sop_instance_uid):
        answer = web.client.get("/find", params={"q": text})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job_id}")


def test_what_is_not_one_job_is_shown_as_a_list(web: Web) -> None:
    for _ in range(2):
        receive(web, study_instance_uid="1.2.3")
    for text, count in (("1.2.3", 2), ("1.2.3.4", 0)):
        answer = web.client.get("/find", params={"q": text})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/?q={text}")
        assert len(rows(web.client.get(answer.headers["location"]))) == count
    assert web.client.get("/find").headers["location"] == "/"


# -- the audit trail


def recorded(record: AuditRecord) -> Mapping[str, object]:
    return {name: value for name, value in record.detail.items() if value is not None}


def test_a_search_is_recorded_by_what_it_matched_and_not_by_its_words(web: Web) -> None:
    job_id = reported(web)
    client = web.sign_in(Role.RADIOLOGIST)
    client.get("/")
    assert searches(web) == []
    client.get("/", params={"q": "jane"})
    client.get("/", params={"q": "nobody"})
    client.get("/find", params={"q": "pid-1"})
    client.get("/find", params={"q": REPORT.sop_instance_uid})
    records = searches(web)
    assert [recorded(each) for each in records] == [
        {"matched": "patient-name", "found": 1, "more": False},
        {"matched": "nothing", "found": 0, "more": False},
        {"matched": "patient-id", "found": 1, "more": False},
        {"matched": "identifier", "found": 1, "more": False, "uid": REPORT.sop_instance_uid},
    ]
    assert {each.user for each in records} == {"radiologist"}
    assert "jane" not in repr(records).lower()
    assert job_id


def test_a_page_that_keeps_itself_up_to_date_searches_once(web: Web) -> None:
    client = web.sign_in(Role.RADIOLOGIST)
    fragment = {"HX-Request": "true"}
    client.get("/", params={"q": "jane"})
    for _ in range(3):
        client.get("/", params={"q": "jane"}, headers=fragment)
    assert len(searches(web)) == 1
    client.get("/", params={"q": "john"}, headers=fragment)  # not a repetition: recorded
    web.sign_in(Role.VIEWER).get("/", params={"q": "jane"}, headers=fragment)
    assert [each.user for each in searches(web)] == ["radiologist", "radiologist", "viewer"]


def lists(web: Web) -> list[AuditRecord]:
    recent = reversed(web.ledger.audit.recent(1000))
    return [each for each in recent if each.detail.get("what") == "worklist"]


def test_who_sees_the_list_with_patients_is_recorded_once_in_a_while(web: Web) -> None:
    receive(web)
    web.client.get("/")  # without a sign-in it shows no patient
    radiologist = web.sign_in(Role.RADIOLOGIST)
    radiologist.get("/")
    radiologist.get("/", params={"state": "parked"}, headers={"HX-Request": "true"})
    radiologist.get("/", params={"q": "jane"})
    web.sign_in(Role.VIEWER).get("/")
    web.sign_in(Role.OPERATOR).get("/")
    assert [(each.action, each.user) for each in lists(web)] == [
        (Action.VIEW, "radiologist"),
        (Action.VIEW, "viewer"),
    ]
    assert len(searches(web)) == 1


def test_what_was_recorded_a_while_ago_is_remembered_by_many_threads() -> None:
    now = [0.0]
    recent = Recent(10.0, 50, lambda: now[0])

    def add(first: int) -> None:
        for each in range(2000):
            recent.add((str(first), str(each)))
            recent.has((str(first), str(each - 1)))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(add, range(8))) == [None] * 8
    recent.add(("a",))
    assert recent.has(("a",))
    for each in range(50):
        recent.add((str(each),))
    assert not recent.has(("a",)), "the oldest is forgotten"
    now[0] = 10.0
    assert not recent.has(("49",))


def test_the_page_runs_no_script_but_its_own_file(web: Web) -> None:
    reported(web)
    page = web.sign_in(Role.RADIOLOGIST).get("/").text
    scripts = re.findall(r"<script[^>]*>[^<]*", page)
    assert scripts
    assert all(re.search(r'src="/static/[\w.-]+"[^>]*>$', each) for each in scripts)
    assert not re.search(r"\s(style|on\w+)=", page)
    assert web.client.get("/static/worklist.js").status_code == 200


def test_tiles_choose_the_state_and_the_form_keeps_it(web: Web) -> None:
    page = web.client.get("/?state=parked").text
    assert '<select name="state"' not in page
    assert '<input type="hidden" name="state" value="parked">' in page
    assert "In all, of all time" in page


def test_days_switch_the_period_off_and_name_their_zone(web: Web) -> None:
    assert '<select name="period">' in web.client.get("/").text
    page = web.client.get("/?first=2026-01-02&period=24h").text
    assert '<select name="period" disabled>' in page
    assert f"From day ({time.tzname[0]})" in page


def test_a_first_day_after_the_last_is_said(web: Web) -> None:
    page = web.client.get("/?first=2026-01-02&last=2026-01-01").text
    assert "The first day, 2026-01-02, is after the last, 2026-01-01: no day is meant." in page


@pytest.mark.parametrize(
    ("query", "chosen"), [("", ""), ("q=x", ""), ("period=30d", "30d"), ("q=x&period=7d", "7d")]
)
def test_the_period_that_counts_is_named_and_an_address_without_one_stays_so(
    web: Web, query: str, chosen: str
) -> None:
    page = web.client.get(f"/?{query}").text
    assert "usual" not in page
    assert f'<option value="{chosen}" selected>the last' in page or (
        query == "q=x" and '<option value="" selected>all time' in page
    )


def test_the_worklist_has_one_search_and_other_pages_the_same_in_the_header(web: Web) -> None:
    page, other = web.client.get("/").text, web.client.get("/status").text
    assert page.count('type="search"') == other.count('type="search"') == 1
    assert 'maxlength="200"' in page
    assert 'maxlength="200"' in other


@pytest.mark.parametrize(
    ("query", "tag"),
    [
        ("", "<details>"),
        ("q=x", "<details>"),
        ("finding=present", "<details open>"),
        ("order=newest", "<details open>"),
    ],
)
def test_filters_are_unfolded_only_where_one_is_set(web: Web, query: str, tag: str) -> None:
    assert f"{tag}\n<summary>Filters" in web.client.get(f"/?{query}").text


def test_a_small_probability_is_seen_and_the_value_is_over_the_band(web: Web) -> None:
    reported(web, replace(CONCLUSION, finding="absent", probability=0.004))
    bar = web.client.get("/").text
    assert 'class="value" y="3" width="2"' in bar
    assert bar.index('class="band"') < bar.index('class="value"')


def test_on_every_width_the_list_fits_and_a_phone_shows_the_first_patient_soon(
    web: Web, browser: Browser
) -> None:
    long_name = replace(DOE, patient_name="Longname-Of-Somebody^Jane")
    reported(
        web,
        replace(
            CONCLUSION,
            other=OtherAbnormality(finding="present", probability=0.9, operating_point="sensitive"),
        ),
        long_name,
    )
    client = web.sign_in(Role.RADIOLOGIST)
    address = str(client.base_url)
    context = browser.new_context()
    context.add_cookies(
        [{"name": SESSION_COOKIE, "value": client.cookies[SESSION_COOKIE], "url": address}]
    )
    page = context.new_page()
    page.goto(address)
    for width, height in ((360, 780), (720, 900), (1024, 800), (1199, 800), (1280, 800)):
        page.set_viewport_size({"width": width, "height": height})
        table = page.locator("table.worklist").bounding_box()
        assert table is not None
        assert table["x"] + table["width"] <= width, width
        assert page.evaluate("document.documentElement.scrollWidth") == width
    patient = page.locator("td.patient").bounding_box()
    assert patient is not None
    assert patient["width"] >= 200
    assert page.get_by_label("Finding").is_visible()
    assert re.fullmatch(r"\d\d:\d\d", page.locator("td[data-label=Received] time").inner_text())
    page.set_viewport_size({"width": 360, "height": 780})
    assert page.get_by_label("Finding").is_hidden()
    patient = page.locator("td.patient").bounding_box()
    assert patient is not None
    assert patient["y"] < 780 * 1.5
    context.close()
