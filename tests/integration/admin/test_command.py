"""Tests of the command as an operator uses it: help, mistakes, and an existing ledger.

Requeue and dismissal are those of docs/operations.md.
"""

import csv
import json
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import pytest
import typer.main
from support.inference_worker import Workspace
from support.module_process import run_module
from support.routes import to
from support.system.ports import free_port
from synthetic.objects import make_cr
from typer.testing import CliRunner

from service.cli import app
from service.domain.audit import Action, AuditRecord
from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, JobState
from service.domain.reasons import Reason
from service.settings import environment_without_settings
from service.storage.retention import DAY_SECONDS
from service.supervision.supervisor import lobar_command

Run = Callable[..., subprocess.CompletedProcess[str]]
SR = OutputRecord(
    kind="sr", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", sop_instance_uid="2.25.1"
)
CONCLUSION = ConclusionRecord(
    finding="present", probability=0.875, operating_point="balanced", model="m 1"
)


@pytest.fixture
def lobar(tmp_path: Path) -> Run:
    """`lobar("status", LOBAR_WEB__PORT="1")` runs the command in its own folder."""

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **environment_without_settings(),
            "COLUMNS": "120",
            "LOBAR_STATE_DIR": str(tmp_path / "state"),
            **variables,
        }
        return run_module(tmp_path, "service.cli", *words, environment=environment)

    return run


@pytest.fixture
def house(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "state")


class Parameter(Protocol):
    @property
    def name(self) -> str | None: ...


class Verb(Protocol):
    """What typer's own copy of click has for a command."""

    @property
    def help(self) -> str | None: ...

    @property
    def params(self) -> Sequence[Parameter]: ...


def verbs(command: Verb, *path: str) -> dict[tuple[str, ...], Verb]:
    found = {path: command}
    for name, verb in getattr(command, "commands", {}).items():
        found |= verbs(verb, *path, name)
    return found


VERBS = verbs(typer.main.get_command(app))


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_every_verb_has_help_that_says_what_it_does_and_takes(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    command = VERBS[path]
    assert command.help
    assert " ".join(command.help.split()[:5]) in shown.output
    for parameter in command.params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"{path}: {parameter.name}"


def test_the_promised_verbs_are_there() -> None:
    assert {" ".join(path) for path in VERBS} >= {
        *("up", "demo", "analyze", "listener", "relay", "worker infer", "worker deliver", "web"),
        *("status", "trace", "requeue", "purge", "check", "conformance"),
    }


@pytest.mark.parametrize(
    ("words", "variables", "said"),
    [
        (["up"], {"LOBAR_CONFIG": "absent.toml"}, "LOBAR_CONFIG names absent.toml, which"),
        (["status"], {"LOBAR_DICOM__PORT": "x"}, "dicom.port: "),
        (["worker", "deliver"], {"LOBAR_DESTINATIONS": "[{"}, "destinations: is not valid JSON"),
        (["listener"], {}, "redis.url (LOBAR_REDIS__URL) is not set."),
        (["worker", "infer"], {"LOBAR_REDIS__URL": "localhost"}, "redis.url: must be redis://"),
        (["analyze", "a.dcm"], {"LOBAR_BUNDLE__DEVICE": "gpu"}, "bundle.device: "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_configuration_that_cannot_be_used_ends_in_one_line_and_status_78(
    lobar: Run, words: list[str], variables: dict[str, str], said: str
) -> None:
    done = lobar(*words, **variables)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"lobar: {said}")
    assert (done.returncode, done.stdout) == (78, "")


def test_a_state_directory_that_cannot_be_used_is_named_in_one_line(
    lobar: Run, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for words, below in ((["up"], ""), (["status"], "state")):
        done = lobar(*words, LOBAR_STATE_DIR=str(tmp_path / "file" / below))
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"lobar: {tmp_path}/file")
        assert "LOBAR_STATE_DIR" in line
        assert (done.returncode, done.stdout) == (71, "")


def test_a_ledger_that_is_not_a_database_is_reported_as_such(lobar: Run, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "ledger.sqlite3").write_text("no database " * 100)
    done = lobar("status")
    assert done.stderr == "lobar: DatabaseError: file is not a database\n"
    assert (done.returncode, done.stdout) == (69, "")


def test_what_no_verb_knows_is_status_2(lobar: Run) -> None:
    done = lobar("analyse", "a.dcm")
    assert done.returncode == 2
    assert "No such command" in done.stderr


def test_status_prints_one_object_for_a_program_and_nothing_else(
    lobar: Run, house: Workspace
) -> None:
    for _ in range(3):
        house.receive(make_cr(rows=8, columns=8))
    done = lobar("status", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert (told["received"], told["jobs"]["received"], told["balance"]) == (3, 3, 0)


def test_a_trace_is_found_by_any_name_and_an_unknown_one_is_status_1(
    lobar: Run, house: Workspace
) -> None:
    dataset = make_cr(rows=8, columns=8)
    job_id = house.receive(dataset)
    done = lobar("trace", str(dataset.StudyInstanceUID), "--json")
    told = json.loads(done.stdout)
    assert (told["id"], told["sop_instance_uid"]) == (job_id, dataset.SOPInstanceUID)
    assert "Test" not in done.stdout, "nor does a trace name the patient"
    unknown = lobar("trace", "1.2.3")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr.startswith("lobar: The ledger knows no such job")


def test_a_requeue_moves_what_is_parked_and_says_where_it_stands(
    lobar: Run, house: Workspace
) -> None:
    dataset = make_cr(rows=8, columns=8)
    failed, unsent, waiting = (house.receive(each) for each in (dataset, *two_more(dataset)))
    jobs = {
        job.id: job
        for job in house.ledger.jobs.lease("w/", 3, lease_seconds=60, maximum_attempts=3)
    }
    house.ledger.jobs.park(jobs[failed], Reason.REPORT_FAILED)
    house.ledger.jobs.report(jobs[unsent], CONCLUSION, [SR], to([]))
    done = lobar("requeue", str(dataset.StudyInstanceUID))
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == sorted(
        [f"{failed} received", f"{unsent} parked: no-destination"]
    )
    assert house.stands(waiting) == (JobState.RECEIVED, None)
    assert house.names(waiting)[-1] == "leased", "it was not parked, so it was left alone"
    destinations = '[{"name":"north","ae_title":"N","host":"h","port":1}]'
    done = lobar("requeue", unsent, LOBAR_DESTINATIONS=destinations)
    assert done.stdout == f"{unsent} reported\n"
    again = lobar("requeue", unsent)
    assert (again.returncode, again.stdout) == (1, "")
    assert "lobar status" in again.stderr


def park_two(house: Workspace) -> list[str]:
    """Two jobs that are parked for different reasons."""
    parked = [house.receive(make_cr(rows=8, columns=8)) for _ in range(2)]
    leased = house.ledger.jobs.lease("w/", 2, lease_seconds=60, maximum_attempts=3)
    reasons = dict(zip(parked, (Reason.REPORT_FAILED, Reason.BYTES_MISSING), strict=True))
    for job in leased:
        house.ledger.jobs.park(job, reasons[job.id])
    return parked


def test_a_dismissed_job_is_closed_with_the_reason_and_recorded(
    lobar: Run, house: Workspace
) -> None:
    first, second = park_two(house)
    why = "The radiograph was taken again."
    done = lobar("dismiss", first, "--reason", why)
    assert (done.returncode, done.stdout) == (0, f"{first} dismissed: report-failed\n")
    assert house.stands(first) == (JobState.DISMISSED, Reason.REPORT_FAILED)
    assert house.stands(second) == (JobState.PARKED, Reason.BYTES_MISSING)
    assert house.ledger.queries.trace(first)[-1].detail["why"] == why
    again = lobar("dismiss", first, "--reason", why)
    assert (again.returncode, again.stdout) == (1, "")
    (record,) = house.ledger.audit.recent()
    assert (record.action, record.user, record.job_id) == (Action.DISMISS, "", first)
    assert record.detail.pop("account")
    assert record.detail == {"by": "command", "parked_for": "report-failed"}


def test_parked_jobs_are_dismissed_by_reason_date_and_sender(lobar: Run, house: Workspace) -> None:
    first, second = park_two(house)
    by_reason = ("dismiss", "--parked-for", "report-failed", "--reason", "old")
    assert lobar(*by_reason, "--before", "2001-01-01").returncode == 1
    assert lobar(*by_reason, "--ae", "MODALITY", "--yes").returncode == 1, "it was an upload"
    counted = lobar(*by_reason)
    assert (counted.returncode, counted.stdout) == (2, "1 parked jobs would be dismissed\n")
    assert "--yes" in counted.stderr
    dry = lobar(*by_reason, "--dry-run", "--yes")
    assert (dry.returncode, dry.stdout) == (0, "1 parked jobs would be dismissed\n")
    assert house.job(first).state is JobState.PARKED
    assert lobar(*by_reason, "--yes").stdout == "1 jobs dismissed\n"
    assert [house.job(each).state for each in (first, second)] == [
        *(JobState.DISMISSED, JobState.PARKED)
    ]
    moment = "2999-12-31T23:59:59"
    done = lobar("dismiss", "--before", moment, "--reason", "all of them", "--yes")
    assert done.stdout == "1 jobs dismissed\n"
    recorded = [each.detail for each in house.ledger.audit.recent(2)]
    assert [(each["jobs"], each.get("parked_for")) for each in recorded] == [
        *((1, None), (1, "report-failed"))
    ]
    assert recorded[0]["received_before"] == 32503679999.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--reason"),
        (("--reason", "x"), "Name either an ID"),
        (("0" * 32, "--parked-for", "report-failed", "--reason", "x"), "Name either an ID"),
        (("0" * 32, "--reason", " "), "Say why"),
        (("0" * 32, "--reason", "two\nlines"), "one line"),
        (("--before", "yesterday", "--reason", "x"), "yesterday"),
        (("--parked-for", "mood", "--reason", "x"), "mood"),
    ],
)
def test_a_dismissal_without_a_job_or_a_reason_is_refused(
    lobar: Run, words: tuple[str, ...], said: str
) -> None:
    done = lobar("dismiss", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


@pytest.fixture
def audited(house: Workspace) -> Workspace:
    """A ledger with two records of its audit trail, of different days."""
    for at, user in ((1764424800, "ann"), (1764511200, "[b]bob")):
        record = AuditRecord(at=at, action=Action.VIEW, user=user, patient_id="PAT-1")
        house.ledger.audit.append(record)
    return house


def test_the_audit_trail_is_printed_for_people_and_programs(lobar: Run, audited: Workspace) -> None:
    table = lobar("audit")
    assert table.returncode == 0
    assert "ann" in table.stdout
    assert "[b]bob" in table.stdout
    objects = [json.loads(line) for line in lobar("audit", "--json").stdout.splitlines()]
    assert [each["user"] for each in objects] == ["ann", "[b]bob", "", ""]
    assert objects[0]["patient_id"] == "PAT-1"
    rows = list(csv.DictReader(lobar("audit", "--csv").stdout.splitlines()))
    assert [row["id"] for row in rows] == ["1", "2", "3", "4", "5"]
    messages = lobar("audit", "--xml").stdout.splitlines()
    assert len(messages) == 6
    assert all(each.startswith("<?xml") and "</AuditMessage>" in each for each in messages)
    assert "110101" in messages[-1], "that it was printed is Audit Log Used"
    record = audited.ledger.audit.recent(1)[0]
    assert record.detail.pop("account")
    assert record.action is Action.EXPORT
    assert record.detail == {"by": "command", "what": "audit-trail", "form": "xml"}


def test_the_audit_trail_is_printed_from_a_day_on(lobar: Run, audited: Workspace) -> None:
    del audited
    printed = lobar("audit", "--json", "--since", "2025-11-30").stdout
    assert [json.loads(line)["user"] for line in printed.splitlines()] == ["[b]bob", ""]


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--json", "--csv"), "Choose one"), (("--since", "yesterday"), "yesterday")],
)
def test_an_audit_trail_in_two_forms_or_from_no_day_is_refused(
    lobar: Run, words: tuple[str, ...], said: str
) -> None:
    done = lobar("audit", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_an_ended_job_is_analysed_again_when_asked_for(lobar: Run, house: Workspace) -> None:
    ended, waiting = (house.receive(make_cr(rows=8, columns=8)) for _ in range(2))
    job = next(
        job
        for job in house.ledger.jobs.lease("w/", 2, lease_seconds=60, maximum_attempts=3)
        if job.id == ended
    )
    house.ledger.jobs.not_analysed(job, Reason.VIEW)
    without = lobar("requeue", ended)
    assert (without.returncode, without.stdout) == (1, ""), "it is not parked"
    done = lobar("requeue", "--reanalyse", ended)
    assert (done.returncode, done.stdout) == (0, f"{ended} received\n")
    assert house.names(ended)[-1] == "reanalysis-asked"
    for named in (ended, waiting):
        refused = lobar("requeue", "--reanalyse", named)
        assert (refused.returncode, refused.stdout) == (1, ""), "in flight"
        assert "lobar trace" in refused.stderr
    wrong = lobar("requeue", "--reanalyse", "--reason", "report-failed")
    assert wrong.returncode == 2


def two_more(dataset):  # noqa: ANN001, ANN201 -- instances
    for _ in range(2):
        other = make_cr(rows=8, columns=8)
        other.StudyInstanceUID = dataset.StudyInstanceUID
        yield other


def test_a_purge_takes_what_has_ended_long_ago(lobar: Run, house: Workspace) -> None:
    house.clock.pass_seconds(-400 * DAY_SECONDS)
    ended, parked = (house.receive(make_cr(rows=8, columns=8)) for _ in range(2))
    jobs = {
        job.id: job
        for job in house.ledger.jobs.lease("w/", 2, lease_seconds=60, maximum_attempts=3)
    }
    house.ledger.jobs.not_analysed(jobs[ended], Reason.VIEW)
    house.ledger.jobs.park(jobs[parked], Reason.REPORT_FAILED)
    size = house.spool.inbox(ended).stat().st_size
    done = lobar("purge")
    assert (done.returncode, done.stdout) == (
        0,
        f"2 jobs purged: the bytes of 1 by age and of 0 by size ({size:,} bytes), 1 forgotten\n",
    )
    assert house.ledger.queries.job(ended) is None
    assert not house.spool.inbox(ended).exists()
    assert house.spool.inbox(parked).exists()
    assert house.ledger.queries.job_counts().balance == 0


def test_a_reader_that_closes_the_pipe_causes_no_error_message() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        lobar_command("conformance"),
        env=environment_without_settings(),
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
        text=True,
        timeout=60,
    )
    os.close(writing)
    assert "Traceback" not in done.stderr
    assert "uncaught_error" not in done.stderr


def test_check_reports_a_destination_that_does_not_answer(lobar: Run) -> None:
    port = free_port()
    destination = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": port}
    done = lobar("check", LOBAR_DESTINATIONS=json.dumps([destination]), LOBAR_DICMO__PORT="1")
    assert done.returncode == 1
    rows = [re.split(" {2,}", line) for line in lines_of(done.stdout)]
    marks = {subject: mark.strip() for mark, subject, *_ in rows}
    assert (marks["destination pacs"], marks["LOBAR_DICMO__PORT"]) == ("error", "note")
    assert marks["bundle"] == marks["ledger"] == marks["state directory"] == "ok"
    assert f"PACS at 127.0.0.1:{port} does not answer: no connection." in done.stdout
    assert "1 error." in done.stdout


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("ok ", "note ", "error "))]
