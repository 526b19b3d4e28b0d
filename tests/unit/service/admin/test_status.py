"""Tests of what a person and a program get to see of the ledger."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from support.inference_worker import Workspace
from support.routes import to
from synthetic.objects import make_cr

from service.admin.status import print_status, print_trace, print_verification
from service.console import file_name
from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, OtherAbnormality
from service.domain.reasons import Reason
from service.settings import TracingSettings
from service.storage.faults import Fault

SR = OutputRecord(
    kind="sr", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", sop_instance_uid="2.25.1"
)
CONCLUSION = ConclusionRecord(
    finding="present", probability=0.875, operating_point="balanced", model="m 1"
)


ABNORMAL = replace(
    CONCLUSION,
    finding="absent",
    other=OtherAbnormality(finding="present", probability=0.9123, operating_point="sensitive"),
    population="adults",
)


@pytest.fixture
def house(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def jobs(house: Workspace) -> list[str]:
    """One job reported, one parked, one not analysed, one received."""
    jobs = [house.receive(make_cr(rows=8, columns=8)) for _ in range(4)]
    leased = house.ledger.jobs.lease("w/", 3, lease_seconds=60, maximum_attempts=3)
    standing = {job.id: job for job in leased}
    taken = [standing[job_id] for job_id in jobs if job_id in standing]
    house.ledger.jobs.report(taken[0], CONCLUSION, [SR], to(["pacs"]))
    house.ledger.jobs.park(taken[1], Reason.REPORT_FAILED)
    house.ledger.jobs.not_analysed(taken[2], Reason.VIEW)
    house.ledger.heartbeats.beat("infer", "host/infer/1/", ready=True)
    return [job.id for job in taken]


def status(house: Workspace, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    print_status(house.ledger, as_json=True)
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("jobs")
def test_a_program_gets_every_number_in_one_line(
    house: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = status(house, capsys)
    assert printed["jobs"] == {
        "received": 1,
        "reported": 1,
        "delivered": 0,
        "not_analysed": 1,
        "parked": 1,
        "dismissed": 0,
    }
    assert (
        printed["received"],
        printed["forgotten"],
        printed["in_flight"],
        printed["balance"],
    ) == (4, 0, 2, 0)
    assert printed["parked"] == {"report-failed": 1}
    assert (printed["due"]["infer"], printed["due"]["deliver"]) == (1, {"pacs": 1})
    assert printed["deliveries"] == [{"destination": "pacs", "state": "pending", "count": 1}]
    assert [(part["role"], part["ready"]) for part in printed["parts"]] == [("infer", True)]


@pytest.mark.usefixtures("jobs")
def test_a_person_gets_the_same_in_tables(
    house: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    print_status(house.ledger, as_json=False)
    printed = capsys.readouterr().out
    for words in ("parked: report-failed", "received in all", "balance (must be 0)", "pacs"):
        assert words in printed
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines()]
    assert ["received in all", "4"] in rows
    assert ["pacs", "1", "0", "0", "0"] in rows


def test_a_person_sees_which_machine_runs_what(
    house: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    house.ledger.heartbeats.beat("infer", "b/infer/7/", ready=True)
    house.ledger.heartbeats.beat("relay", "a/relay/12/", ready=False)
    house.ledger.heartbeats.beat("infer", "a/infer/7/", ready=True, progress=False)
    print_status(house.ledger, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]
    assert [row[:4] for row in rows if row and row[0] in {"a", "b"}] == [
        ["a", "infer", "7", "no, stuck"],
        ["a", "relay", "12", "no"],
        ["b", "infer", "7", "yes"],
    ]


def test_breakers_that_are_not_closed_are_listed(
    house: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(house, capsys)["breakers"] == []
    house.ledger.deliveries.open_breaker("pacs", lambda _: 10)
    opened = house.ledger.breakers.open("host/infer/", lambda _: 60, Fault.DISK_FULL)
    assert opened is not None
    house.clock.pass_seconds(20)
    of_workers, of_pacs = status(house, capsys)["breakers"]
    assert of_workers == {
        "name": "host/infer/",
        "is_open": True,
        "failures": 1,
        "open_until": opened.open_until,
        "fault": "disk-full",
    }
    assert (of_pacs["name"], of_pacs["is_open"], of_pacs["fault"]) == ("pacs", False, None)
    print_status(house.ledger, as_json=False)
    printed = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines()]
    assert ["host/infer/", "open", "disk-full", "1"] in [row[:4] for row in rows]
    assert ["pacs", "half-open", "", "1"] in [row[:4] for row in rows]


def test_an_empty_ledger_is_no_special_case(
    house: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(house, capsys)["received"] == 0
    print_status(house.ledger, as_json=False)


def test_a_trace_for_a_program_has_everything_in_one_line_per_job(
    house: Workspace, jobs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_trace(house.ledger, jobs[0], as_json=True)
    (printed,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (printed["id"], printed["state"], printed["probability"]) == (jobs[0], "reported", 0.875)
    assert [event["name"] for event in printed["events"]] == ["received", "leased", "reported"]
    assert printed["outputs"][0]["sop_instance_uid"] == "2.25.1"
    assert printed["deliveries"][0]["destination"] == "pacs"


def test_a_trace_for_a_person_lists_the_events(
    house: Workspace, jobs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_trace(house.ledger, jobs[1][:12], as_json=False)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{jobs[1]}  parked: report-failed")
    assert "reason report-failed" in printed
    assert print_trace(house.ledger, jobs[0], as_json=False)
    assert "pneumonia present, probability 0.875 at balanced, by m 1" in capsys.readouterr().out


def test_a_trace_shows_the_other_abnormality_beside_pneumonia(
    house: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = house.receive(make_cr(rows=8, columns=8))
    (job,) = house.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    house.ledger.jobs.report(job, ABNORMAL, [SR], to(["pacs"]))
    assert print_trace(house.ledger, job_id, as_json=False)
    printed = capsys.readouterr().out
    assert "pneumonia absent, probability 0.875 at balanced" in printed
    assert "other abnormality present, probability 0.912 at sensitive" in printed
    assert "population adults" in printed
    assert print_trace(house.ledger, job_id, as_json=True)
    (told,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert told["other_abnormality"] == {
        "finding": "present",
        "probability": 0.9123,
        "operating_point": "sensitive",
    }
    assert told["population"] == "adults"
    (reported,) = (each["detail"] for each in told["events"] if each["name"] == "reported")
    assert (reported["finding"], reported["other_finding"]) == ("absent", "present")


def test_a_trace_says_nothing_of_an_abnormality_that_was_not_read(
    house: Workspace, jobs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_trace(house.ledger, jobs[0], as_json=False)
    printed = capsys.readouterr().out
    assert "abnormality" not in printed
    assert "population" not in printed
    assert print_trace(house.ledger, jobs[0], as_json=True)
    (told,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert told["other_abnormality"] is told["population"] is None


def test_a_study_of_any_size_is_printed_in_full(
    house: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    study = "1.2.3.4"
    for _ in range(60):
        dataset = make_cr(rows=8, columns=8)
        dataset.StudyInstanceUID = study
        house.receive(dataset)
    capsys.readouterr()
    assert print_trace(house.ledger, study, as_json=True)
    assert len(capsys.readouterr().out.splitlines()) == 60


def test_an_unknown_id_prints_nothing(house: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert not print_trace(house.ledger, "1.2.3", as_json=True)
    assert not print_trace(house.ledger, "1.2.3", as_json=False)
    assert capsys.readouterr().out == ""


def test_a_file_is_shown_by_the_name_it_has() -> None:
    assert file_name(Path("/a/[red]b.dcm")).plain == "[red]b.dcm"
    assert file_name(Path("b\udcff.dcm")).plain == "b\N{REPLACEMENT CHARACTER}.dcm"


@pytest.mark.usefixtures("jobs")
def test_verifying_counts_the_rows_and_corrects_what_differs(
    house: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert print_verification(house.ledger)
    assert capsys.readouterr().out == "The ledger's numbers are those of its rows.\n"
    engine = create_engine(house.settings.ledger_url)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM tally_changes WHERE state = 'parked'"))
    engine.dispose()
    assert not print_verification(house.ledger)
    assert capsys.readouterr().out == (
        "jobs parked report-failed: the ledger said 0, its rows are 1; corrected\n"
    )
    assert print_verification(house.ledger)


def test_a_trace_names_the_spans_of_the_job_where_they_are_exported(
    house: Workspace, jobs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint = "http://127.0.0.1:4318/v1/traces"
    assert print_trace(house.ledger, jobs[0], TracingSettings(), as_json=True)
    (told,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (told["trace_id"], told["trace_page"]) == (None, None)
    assert print_trace(house.ledger, jobs[0], as_json=False)
    assert "spans" not in capsys.readouterr().out
    exported = TracingSettings(endpoint=endpoint, page="https://j.example.org/{trace_id}")
    assert print_trace(house.ledger, jobs[0], exported, as_json=False)
    assert f"in the trace {jobs[0]}, https://j.example.org/{jobs[0]}" in capsys.readouterr().out
