"""`lobar drift` and `lobar shadow report`, as an operator uses them."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert
from support.filled_ledger import job_row
from support.inference_worker import Workspace
from support.module_process import run_module

from service.settings import environment_without_settings
from service.storage.ledger.database import Database
from service.storage.ledger.tables import DRIFT_INPUTS, JOBS, SHADOWS

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def lobar(tmp_path: Path) -> Run:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **environment_without_settings(),
            "COLUMNS": "120",
            "LOBAR_STATE_DIR": str(tmp_path / "state"),
            "LOBAR_BUNDLE__PATH": str(tmp_path / "no-bundle"),  # without a reference
        }
        return run_module(tmp_path, "service.cli", *words, environment=environment)

    return run


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    workspace = Workspace(tmp_path / "state")
    workspace.ledger.close()
    with closing(Database(workspace.settings.ledger_url)) as opened:
        yield opened


def films(database: Database, count: int, first: int, days: float, view: str) -> None:
    """Write films with one view, received `days` ago."""
    at = time.time() - days * 86_400
    jobs = [job_row(number, at) for number in range(first, first + count)]
    groups = dict.fromkeys(("manufacturer", "kvp", "exposure", "size", "tone"), "not stated")
    rows = [{"job_id": each["id"], "view": view, **groups} for each in jobs]
    with database.write() as connection:
        connection.execute(insert(JOBS), jobs)
        connection.execute(insert(DRIFT_INPUTS), rows)


def shown(lobar: Run) -> dict[str, Any]:
    done = lobar("drift", "show", "--json")
    assert done.returncode == 0, done.stderr
    inputs: dict[str, Any] = json.loads(done.stdout)["inputs"]
    return inputs


def trail(lobar: Run) -> list[dict[str, Any]]:
    done = lobar("audit", "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_drift_is_shown_and_a_change_that_is_meant_is_accepted(
    lobar: Run, database: Database
) -> None:
    films(database, 300, 0, 20, "PA")
    films(database, 250, 1000, 2, "AP")
    before = shown(lobar)
    assert before["view"]["index"] > 0.25
    assert before["view"]["reference"] == "before"
    assert before["view"]["groups"] == [
        {"group": "AP", "recent": 250, "reference": 0},
        {"group": "PA", "recent": 0, "reference": 300},
    ]
    assert before["size"]["index"] < 0.01
    table = lobar("drift", "show").stdout
    assert "250 films since" in table
    assert "A large change: look at it." in table

    accepted = lobar("drift", "accept", "--days", "7")
    assert accepted.returncode == 0
    assert "view: 250 films since" in accepted.stdout
    after = shown(lobar)
    assert (after["view"]["reference"], after["view"]["index"] < 0.01) == ("site", True)
    assert lobar("drift", "forget").stdout == "8 references removed\n"
    assert shown(lobar)["view"]["reference"] == "before"
    assert lobar("drift", "forget").stdout == "0 references removed\n"
    accepting, forgetting = (each["detail"] for each in trail(lobar) if each["action"] == "drift")
    assert (accepting["change"], accepting["days"], accepting["inputs"]) == ("accept", 7, 8)
    assert (forgetting["change"], forgetting["inputs"]) == ("forget", 8)
    assert {each["by"] for each in (accepting, forgetting)} == {"command"}


def test_too_few_films_are_not_accepted(lobar: Run, database: Database) -> None:
    films(database, 199, 0, 2, "PA")
    done = lobar("drift", "accept")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing was accepted" in done.stderr
    assert "drift" not in {each["action"] for each in trail(lobar)}
    assert shown(lobar)["view"]["index"] is None


def shadow_rows(database: Database) -> None:
    now = time.time()
    jobs = [job_row(number, now - 60) for number in range(10)]
    rows = [
        {
            "job_id": job["id"],
            "planned_at": now - 60 + number,
            "attempt": 1,
            "reported_model": "own 1",
            "reported_point": "p",
            "reported_finding": "present",
            "reported_probability": 0.75,
            "model": "candidate 2",
            "weights_sha256": "0f" * 32,
            "operating_point": "p",
            "finding": "absent" if number == 9 else "present",
            "probability": 0.25 if number == 9 else 0.75,
            "finished_at": now,
        }
        for number, job in enumerate(jobs)
    ]
    with database.write() as connection:
        connection.execute(insert(JOBS), jobs)
        connection.execute(insert(SHADOWS), rows)


def test_the_report_has_agreement_differences_and_would_be_changes(
    lobar: Run, database: Database
) -> None:
    shadow_rows(database)
    done = lobar("shadow", "report")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "candidate 2 (shadow) beside own 1 (reported)" in text
    assert "same outcome: 90.0% (" in text
    assert "9 of 10" in text
    assert "largest 0.500" in text
    assert "present 0.750 -> absent 0.250" in text
    found = json.loads(lobar("shadow", "report", "--json").stdout)
    assert (found["compared"], found["agreement"]["count"]) == (10, 9)
    assert found["table"]["present"] == {
        "present": 9,
        "absent": 1,
        "indeterminate": 0,
        "not_analysed": 0,
    }
    assert found["differences"]["mean"] == pytest.approx(-0.05)
    assert [each["shadow"]["outcome"] for each in found["changes"]] == ["absent"]
    assert (found["pending"], found["failures"]) == (0, {})


def test_without_comparisons_the_status_is_one(lobar: Run, database: Database) -> None:
    assert database.is_current()
    done = lobar("shadow", "report")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Nothing was compared" in done.stderr
    empty = lobar("shadow", "report", "--json")
    assert empty.returncode == 1
    assert json.loads(empty.stdout)["compared"] == 0
    late = lobar("shadow", "report", "--since", "2026-02-01", "--until", "2026-01-01")
    assert (late.returncode, "after --since" in late.stderr) == (2, True)
