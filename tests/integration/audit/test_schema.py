"""Every audit message is valid by the schema of PS3.15 A.5.1, as jing reads it."""

import itertools
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from support.system.programs import need_program

from service.audit.codes import AUDIT_TRAIL
from service.audit.message import Source, message
from service.domain.audit import Action, AuditOutcome, AuditRecord

SCHEMA: Final = Path(__file__).resolve().parents[2] / "synthetic" / "audit_message.rnc"
OF_A_JOB: Final[dict[str, Any]] = {
    "job_id": "a" * 32,
    "study_instance_uid": "1.2.3",
    "sop_instance_uid": "1.2.3.4",
    "patient_id": "P\x01 & <1>",
}
ODD: Final = "\x00<&\"'\ud800\U0001f600 "


def jing(*files: Path) -> subprocess.CompletedProcess[str]:
    program = need_program("jing")
    return subprocess.run(
        [program, "-c", SCHEMA, *files], check=False, capture_output=True, text=True
    )


def records() -> list[AuditRecord]:
    plain = [
        AuditRecord(at=1764424800.5, action=action, outcome=outcome, user=user, address=address)
        for action, outcome in itertools.product(Action, AuditOutcome)
        for user, address in (("ann", "::1"), ("", ""))
    ]
    about_a_job = [replace(each, role="viewer", **OF_A_JOB) for each in plain]
    odd = [
        replace(each, user=ODD, role=ODD, address=ODD, detail={"n": 1.5, "word": ODD, "no": None})
        for each in (*plain, *about_a_job)
    ]
    trail = replace(plain[0], action=Action.VIEW, detail={"what": AUDIT_TRAIL})
    return [*plain, *about_a_job, *odd, trail]


def test_every_message_is_valid(tmp_path: Path) -> None:
    written = []
    for number, (record, site) in enumerate(itertools.product(records(), (None, "clinic"))):
        written.append(tmp_path / f"{number}.xml")
        written[-1].write_bytes(message(record, Source(id="LOBAR", site=site)))
    assert len(written) > 250
    done = jing(*written)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("change", "to"),
    [
        ("EventActionCode", "EventAction"),
        ('EventOutcomeIndicator="0"', 'EventOutcomeIndicator="1"'),
        ("<EventID ", "<EventKind "),
    ],
)
def test_a_message_that_is_not_valid_is_noticed(tmp_path: Path, change: str, to: str) -> None:
    text = message(records()[0], Source(id="LOBAR")).decode()
    assert change in text
    file = tmp_path / "wrong.xml"
    file.write_text(text.replace(change, to))
    assert jing(file).returncode == 1
