"""Rows of jobs and verdicts written straight into a ledger's tables, for counting them."""

import random
from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import Row, insert, select

from service.storage.ledger.database import Database
from service.storage.ledger.reading.statistics import DAY_SECONDS
from service.storage.ledger.tables import DRIFT_INPUTS, JOBS, SHADOWS, VERDICTS

MODELS: Final = ("lobar 1.1.0", "lobar 1.2.0")
SENDERS: Final = ("CR_ROOM_1", "DX_ROOM_2", "MOBILE_3", "PACS", "")
REASONS: Final = ("lateral-view", "not-a-chest-radiograph", "modality-out-of-scope")
_AT_ONCE: Final = 5_000
_NEW_SECONDS: Final = 7 * DAY_SECONDS


def job_row(number: int, at: float, **changes: object) -> dict[str, Any]:
    """Build a row of `jobs`: delivered, with the finding present."""
    uid = f"2.25.{number + 1}"
    return {
        "id": f"{number:032x}",
        "sop_instance_uid": uid,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1",
        "series_instance_uid": uid,
        "study_instance_uid": uid,
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "digest": f"{number:064x}",
        "size_bytes": 10,
        "calling_ae_title": "MODALITY",
        "source": "dicom",
        "state": "delivered",
        "reason": None,
        "attempt": 1,
        "attempt_base": 0,
        "faults": 0,
        "received_at": at,
        "asked_at": at,
        "finding": "present",
        "probability": 0.75,
        "operating_point": "screening",
        "model": MODELS[0],
        "refusal": None,
        **changes,
    }


def verdict_row(number: int, at: float, **changes: object) -> dict[str, Any]:
    """Build a row of `verdicts`: somebody agrees that the finding is present."""
    return {
        "id": number,
        "at": at,
        "user_name": "ann",
        "opinion": "agree",
        "right_finding": None,
        "comment": "",
        "job_id": f"{number:032x}",
        "report_uid": "2.25.7",
        "sop_instance_uid": f"2.25.{number + 1}",
        "digest": f"{number:064x}",
        "finding": "present",
        "probability": 0.75,
        "operating_point": "screening",
        "model": MODELS[0],
        "population": None,
        **changes,
    }


def fill(
    database: Database, *, jobs: int, verdicts: int, until: float, days: int = 180, seed: int = 1
) -> None:
    """Write jobs received evenly over `days`, and verdicts on the last ones."""
    chance = random.Random(seed)
    rows = list(_jobs(chance, jobs, until, days))
    judged = [row for row in rows if row["finding"]][-verdicts:] if verdicts else []
    with database.write() as connection:
        for begin in range(0, jobs, _AT_ONCE):
            connection.execute(insert(JOBS), rows[begin : begin + _AT_ONCE])
        if judged:
            connection.execute(
                insert(VERDICTS), [_verdict(chance, n, row) for n, row in enumerate(judged, 1)]
            )


def fill_monitoring(database: Database, seed: int = 2) -> None:
    """Write the groups of each job in what is watched for drift, and what a shadow model said."""
    chance = random.Random(seed)
    with database.write() as connection:
        without = JOBS.c.id.not_in(select(DRIFT_INPUTS.c.job_id))
        query = select(JOBS).where(without).order_by(JOBS.c.received_at)
        jobs = connection.execute(query).all()
        last = jobs[-1].received_at
        groups = [
            {"job_id": job.id, **_groups(chance, is_new=last - job.received_at < _NEW_SECONDS)}
            for job in jobs
        ]
        compared = [_comparison(chance, job) for job in jobs if job.model == MODELS[1]]
        for table, rows in ((DRIFT_INPUTS, groups), (SHADOWS, compared)):
            for begin in range(0, len(rows), _AT_ONCE):
                connection.execute(insert(table), rows[begin : begin + _AT_ONCE])


def _groups(chance: random.Random, *, is_new: bool) -> dict[str, str]:
    """Draw the groups of an instance; of late there is another machine."""
    maker = chance.choices(("siemens", "fuji", "samsung"), (60, 40, 45 if is_new else 0))[0]
    return {
        "manufacturer": maker,
        "view": chance.choices(("PA", "AP", "not stated"), (75, 20, 5))[0],
        "kvp": chance.choices(("70 to 80", "110 to 120", "120 to 130"), (25, 15, 60))[0],
        "exposure": chance.choices(("1 to 2", "2 to 4", "4 to 8"), (30, 50, 20))[0],
        "size": chance.choices(("2048 to 2560", "2560 to 3072"), (60, 40))[0],
        "tone": chance.choices(("0.525 to 0.55", "0.55 to 0.575", "0.575 to 0.6"), (2, 3, 2))[0],
    }


def _comparison(chance: random.Random, job: Row[Any]) -> dict[str, Any]:
    """Build a row of `shadows` for a job: a model that mostly says the same."""
    probability = job.probability
    if probability is not None:
        probability = min(1.0, max(0.0, probability + chance.gauss(0, 0.08)))
    finding = None if probability is None else _finding(probability)
    return {
        "job_id": job.id,
        "planned_at": job.received_at,
        "attempt": 1,
        "reported_model": MODELS[1],
        "reported_point": "screening",
        "reported_finding": job.finding,
        "reported_probability": job.probability,
        "reported_reason": job.refusal,
        "model": "lobar 1.3.0",
        "operating_point": "screening",
        "finding": finding,
        "probability": probability,
        "reason": None if finding else job.refusal,
        "finished_at": job.received_at,
    }


def _jobs(chance: random.Random, jobs: int, until: float, days: int) -> Iterator[dict[str, Any]]:
    begin = until - days * DAY_SECONDS
    for number in range(jobs):
        at = begin + (number + 0.5) * days * DAY_SECONDS / jobs
        sender = chance.choice(SENDERS)
        if chance.random() < 0.12:
            reason = chance.choice(REASONS)
            nothing = {"finding": None, "probability": None, "operating_point": None}
            yield job_row(
                number,
                at,
                **nothing,
                model=None,
                refusal=reason,
                state="not_analysed",
                calling_ae_title=sender,
            )
        else:
            probability = chance.betavariate(0.5, 1.2)
            yield job_row(
                number,
                at,
                finding=_finding(probability),
                probability=probability,
                model=MODELS[number * len(MODELS) // jobs],
                calling_ae_title=sender,
            )


def _finding(probability: float) -> str:
    if 0.45 <= probability < 0.55:
        return "indeterminate"
    return "present" if probability >= 0.55 else "absent"


def _verdict(chance: random.Random, number: int, job: dict[str, Any]) -> dict[str, Any]:
    opinion = chance.choices(("agree", "disagree", "unsure"), (85, 10, 5))[0]
    others = [each for each in ("present", "absent") if each != job["finding"]]
    return verdict_row(
        number,
        job["received_at"],
        user_name=chance.choice(("ann", "bob")),
        opinion=opinion,
        right_finding=chance.choice(others) if opinion == "disagree" else None,
        job_id=job["id"],
        report_uid=f"{job['sop_instance_uid']}.1",
        sop_instance_uid=job["sop_instance_uid"],
        digest=job["digest"],
        finding=job["finding"],
        probability=job["probability"],
        model=job["model"],
    )
