"""The audit trail and the state of its export, on each database."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from support.system.clock import Clock

from service.domain.audit import Action, AuditOutcome, AuditRecord
from service.storage.ledger import Ledger, StaleLeaseError
from service.storage.ledger.access.audit_trail import AuditFilter

VIEWED = AuditRecord(
    at=100,
    action=Action.VIEW,
    user="ann",
    role="viewer",
    address="192.0.2.7",
    job_id="a" * 32,
    study_instance_uid="1.2",
    sop_instance_uid="1.2.3",
    patient_id="PAT-1",
    detail={"n": 1, "word": "é"},
)
OTHER = AuditRecord(
    at=200, action=Action.SIGN_IN, outcome=AuditOutcome.FAILURE, user="bob", address="::1"
)


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    for record in (VIEWED, OTHER):
        ledger.audit.append(record)
    return ledger


def test_a_record_is_read_as_it_was_appended(filled: Ledger) -> None:
    newest, oldest = filled.audit.recent()
    assert (newest, oldest) == (replace(OTHER, id=2), replace(VIEWED, id=1))
    assert filled.audit.after(0, 9) == [oldest, newest]
    assert [filled.audit.count_after(number) for number in (0, 1, 2)] == [2, 1, 0]


@pytest.mark.parametrize(
    ("conditions", "found"),
    [
        ({}, ["bob", "ann"]),
        ({"user": ""}, ["bob", "ann"]),
        ({"user": "ann"}, ["ann"]),
        ({"user": "an"}, []),
        ({"user": "ann' OR 1=1 --"}, []),
        ({"action": Action.VIEW}, ["ann"]),
        ({"outcome": AuditOutcome.FAILURE}, ["bob"]),
        ({"job_id": "a" * 32}, ["ann"]),
        ({"patient_id": "PAT-1"}, ["ann"]),
        ({"patient_id": "PAT-1", "user": "bob"}, []),
        ({"since": 200.0}, ["bob"]),
        ({"until": 200.0}, ["ann"]),
        ({"since": 100.0, "until": 201.0}, ["bob", "ann"]),
    ],
)
def test_records_are_found_by_who_what_whom_and_when(
    filled: Ledger, conditions: dict[str, Any], found: list[str]
) -> None:
    where = AuditFilter(**conditions)
    assert [each.user for each in filled.audit.recent(where=where)] == found
    assert [each.user for each in filled.audit.after(0, 9, where)] == found[::-1]


def test_all_records_are_reached_page_by_page(ledger: Ledger) -> None:
    for n in range(7):
        ledger.audit.append(replace(VIEWED, detail={"n": n}))
    pages, before = [], None
    while page := ledger.audit.recent(3, before):
        pages.append([each.detail["n"] for each in page])
        before = page[-1].id
    assert pages == [[6, 5, 4], [3, 2, 1], [0]]


def test_records_appear_in_the_order_of_their_numbers_whoever_appends(ledger: Ledger) -> None:
    """A reader that goes on from the last number it saw misses none."""
    seen: list[int] = []

    def append(n: int) -> None:
        ledger.audit.append(replace(VIEWED, detail={"n": n}))

    with ThreadPoolExecutor(8) as writers:
        done = [writers.submit(append, n) for n in range(60)]
        while len(seen) < 60:
            seen += [each.id for each in ledger.audit.after(seen[-1] if seen else 0, 5) if each.id]
        for each in done:
            each.result()
    assert len(seen) == 60
    assert seen == sorted(seen)
    assert ledger.audit.count_after(0) == 60


def test_one_process_at_a_time_exports(ledger: Ledger, clock: Clock) -> None:
    first = ledger.audit_export.lease("a/", 30)
    assert first is not None
    assert (first.exported, first.attempt, first.holder) == (0, 1, "a/")
    assert ledger.audit_export.lease("b/", 30) is None
    clock.pass_seconds(31)
    second = ledger.audit_export.lease("b/", 30)
    assert second is not None
    with pytest.raises(StaleLeaseError):
        ledger.audit_export.taken(first, 9)
    ledger.audit_export.taken(second, 7)
    assert ledger.audit_export.state().exported == 7
    assert ledger.audit_export.lease("a/", 30) is not None, "the next ones are due at once"


def test_many_processes_at_once_get_one_lease(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as relays:
        leased = list(relays.map(lambda n: ledger.audit_export.lease(f"{n}/", 30), range(8)))
    assert sum(each is not None for each in leased) == 1


def test_a_failure_is_remembered_and_pauses_the_export(ledger: Ledger, clock: Clock) -> None:
    for number in (1, 2):
        leased = ledger.audit_export.lease("a/", 30)
        assert leased is not None
        ledger.audit_export.failed(leased, "unreachable", again_in=10)
        state = ledger.audit_export.state()
        assert (state.failures, state.fault, state.exported) == (number, "unreachable", 0)
        assert ledger.audit_export.lease("a/", 30) is None
        clock.pass_seconds(10)
    leased = ledger.audit_export.lease("a/", 30)
    assert leased is not None
    ledger.audit_export.taken(leased, 3)
    state = ledger.audit_export.state()
    assert (state.failures, state.fault, state.exported) == (0, None, 3)


def test_what_a_dead_relay_held_is_due_at_once(ledger: Ledger) -> None:
    assert ledger.audit_export.lease("host/relay/7/", 30) is not None
    assert ledger.release("host/relay/") == 1
    assert ledger.audit_export.lease("host/relay/8/", 30) is not None
