"""What `lobar verdicts` prints."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
from support.inference_worker import Workspace
from support.routes import to
from synthetic.objects import make_cr

from service.admin.verdicts import print_verdicts
from service.domain.audit import Action
from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord
from service.domain.verdict import Opinion
from service.web.verdicts.table import COLUMNS, csv_lines, moment_of

ROOT = Path(__file__).resolve().parents[4]
SR = OutputRecord(
    kind="sr", sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", sop_instance_uid="2.25.1"
)
CONCLUSION = ConclusionRecord(
    finding="present", probability=0.875, operating_point="+balanced", model="@m 1"
)


@pytest.fixture
def house(tmp_path: Path) -> Workspace:
    """A ledger in which two readers judged a report of a model with an odd name."""
    house = Workspace(tmp_path)
    house.receive(make_cr(rows=8, columns=8))
    (job,) = house.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
    house.ledger.jobs.report(job, CONCLUSION, [SR], to(["pacs"]))
    for user, opinion, right, comment in (
        ("rita", Opinion.DISAGREE, "absent", "-2+3"),
        ("rolf", Opinion.AGREE, None, "[b]ok"),
    ):
        house.ledger.verdicts.record(
            job.id,
            report_uid="2.25.1",
            user=user,
            opinion=opinion,
            right_finding=right,
            comment=comment,
        )
    return house


def test_the_table_shows_opinions_and_counts_and_no_names(
    house: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    print_verdicts(house.ledger, since=None, as_csv=False, comments=False)
    printed = capsys.readouterr().out
    for shown in ("disagree", "absent", "reader-1", "reader-2", "0.875", "1 agree, 1 disagree"):
        assert shown in printed
    for hidden in ("rita", "rolf", "ok"):
        assert hidden not in printed
    print_verdicts(house.ledger, since=None, as_csv=False, comments=True)
    assert "[b]ok" in capsys.readouterr().out


def test_no_cell_of_the_csv_is_a_formula(
    house: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    print_verdicts(house.ledger, since=None, as_csv=True, comments=True)
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[0] == [*COLUMNS, "comment"]
    assert [row[-1] for row in rows[1:]] == ["'-2+3", "[b]ok"]
    assert {(row[4], row[5]) for row in rows[1:]} == {("'+balanced", "'@m 1")}
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row)


def test_who_prints_verdicts_is_recorded(house: Workspace) -> None:
    print_verdicts(house.ledger, since=None, as_csv=False, comments=False)
    print_verdicts(house.ledger, since=7.0, as_csv=True, comments=True)
    second, first = house.ledger.audit.recent()
    assert {first.action, second.action} == {Action.EXPORT}
    assert first.detail["account"]
    common = {"by": "command", "account": first.detail["account"], "what": "verdicts"}
    assert first.detail == {**common, "form": "table", "comments": False}
    assert second.detail == {**common, "form": "csv", "since": 7.0, "comments": True}


def test_a_ledger_without_verdicts_prints_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    house = Workspace(tmp_path)
    print_verdicts(house.ledger, since=None, as_csv=False, comments=False)
    assert "none" in capsys.readouterr().out
    assert list(csv_lines(house.ledger)) == [",".join(COLUMNS) + "\r\n"]


def test_a_moment_is_utc_unless_it_names_a_zone() -> None:
    assert moment_of("1970-01-02") == 86_400
    assert moment_of("1970-01-02T00:00:00+01:00") == 82_800
    for wrong in ("", "soon", "2026-13-01"):
        with pytest.raises(ValueError, match="no day or moment"):
            moment_of(wrong)


def test_a_wrong_day_is_refused_in_one_line(tmp_path: Path) -> None:
    # in a process of its own: the command sets the log of its process up
    said = subprocess.run(
        [sys.executable, "-m", "service.cli", "verdicts", "--since", "soon"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"LOBAR_STATE_DIR": str(tmp_path), "PATH": ""},
    )
    assert said.returncode == 2
    assert "Traceback" not in said.stdout + said.stderr
