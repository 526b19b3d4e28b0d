"""The plan of a chaos run: the same seed gives the same, and it holds what it promises."""

from collections import Counter
from io import BytesIO

import pytest
from faults.chaos.keeper import role_of
from faults.chaos.schedule import (
    CLOCK_STEPS,
    ON_POSTGRESQL,
    ON_SQLITE,
    RULES,
    Kind,
    Layout,
    Plan,
    Program,
    Step,
    Way,
    make_plan,
)
from faults.chaos.senders import Book, Instances, responses_of_storescu
from faults.chaos.strikes import STRIKES
from pydicom import dcmread


def plan(seed: int = 7, **options: object) -> Plan:
    wanted: dict[str, object] = {"seconds": 120, "instances": 600, "database": "sqlite"}
    return make_plan(seed=seed, **(wanted | options))  # type: ignore[arg-type]


def steps(of: Plan) -> list[Step]:
    return [step for sender in of.senders for each in sender.associations for step in each]


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    assert plan() == plan()
    assert plan().lines() == plan().lines()
    assert plan().faults != plan(8).faults
    assert plan().senders != plan(8).senders


def test_what_is_sent_does_not_depend_on_the_kinds_of_faults() -> None:
    assert plan(kinds=[Kind.KILL_INFER]).senders == plan().senders


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_of_fault_strikes_and_no_two_strike_one_target_at_a_time(seed: int) -> None:
    made = plan(seed)
    assert {fault.kind for fault in made.faults} == set(Kind) - ON_POSTGRESQL
    busy_until: dict[str, float] = {}
    for fault in made.faults:
        target = RULES[fault.kind].target
        assert busy_until.get(target, 0) <= fault.at < made.seconds
        busy_until[target] = fault.at + fault.seconds


def test_faults_strike_as_rarely_as_is_wanted() -> None:
    for every in (3, 8, 20):
        made = plan(seconds=6000, every=every)
        assert 0.7 < len(made.faults) * every / made.seconds <= 1.1
    assert plan(every=8).senders == plan().senders


def test_each_database_has_its_own_kinds_of_faults() -> None:
    kinds = {fault.kind for fault in plan(database="postgresql").faults}
    assert kinds == set(Kind) - ON_SQLITE


def test_the_clock_is_stepped_by_hours_and_days_in_both_directions() -> None:
    offsets = {
        fault.clock_offset for fault in plan(seconds=3000).faults if fault.kind is Kind.CLOCK_STEP
    }
    assert offsets == set(CLOCK_STEPS)


def test_file_systems_are_the_same_in_some_runs_and_apart_in_others() -> None:
    assert {plan(seed).layout for seed in range(20)} == set(Layout)


def test_every_kind_of_fault_can_be_made_to_happen() -> None:
    assert set(STRIKES) == set(RULES) == set(Kind)


def test_every_instance_is_sent_once_as_new_among_duplicates_corrections_and_aborts() -> None:
    made = steps(plan())
    ways = Counter(step.way for step in made)
    assert ways[Way.NEW] == 600 == len({step.number for step in made})
    assert ways[Way.DUPLICATE] > 20
    assert ways[Way.CORRECTION] > 20
    assert any(step.is_aborted for step in made)
    assert any(step.gives_up for step in made)
    assert sum(step.in_scope for step in made) > 0.9 * len(made), "most have a report"
    assert {sender.program for sender in plan().senders} == set(Program)


def test_versions_of_an_instance_are_other_bytes_under_the_same_uid() -> None:
    instances = Instances(7)
    first = Step(number=3, version=0, way=Way.NEW)
    again = Step(number=3, version=0, way=Way.DUPLICATE)
    corrected = Step(number=3, version=1, way=Way.CORRECTION)
    other = Step(number=4, version=0, way=Way.NEW)
    assert instances.file(first) == instances.file(again) != instances.file(corrected)
    for step in (first, corrected, other):
        dataset = dcmread(BytesIO(instances.file(step)))
        assert dataset.SOPInstanceUID == instances.version(step)[0]
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.AccessionNumber == f"VERSION-{step.version}"
    assert instances.version(first)[0] == instances.version(corrected)[0]
    assert instances.version(first)[0] != instances.version(other)[0]


def test_what_storescu_says_of_each_file_is_read() -> None:
    output = (
        "I: Sending file: /a/1.dcm\nI: Converting transfer syntax: x\n"
        "I: Received Store Response (Success)\n"
        "I: Sending file: /a/2.dcm\nI: Received Store Response (Refused: OutOfResources)\n"
        "I: Sending file: /a/3.dcm\nE: Store Failed, file: /a/3.dcm:\n"
    )
    assert responses_of_storescu(output) == {
        "/a/1.dcm": "0x0000",
        "/a/2.dcm": "Refused: OutOfResources",
        "/a/3.dcm": "no response",
    }


def test_parts_are_found_by_their_command_lines() -> None:
    assert (
        role_of(["/usr/bin/python3", "-P", "-m", "service.cli", "worker", "infer", ""]) == "infer"
    )
    assert role_of(["/usr/bin/python3", "-P", "-m", "service.cli", "web", ""]) == "web"
    assert role_of(["/a/valkey-server", "/state/redis/redis.conf", ""]) == "redis"
    assert role_of(["/a/valkey-server 127.0.0.1:40123"]) == "redis"
    assert role_of(["/usr/bin/redis-server 127.0.0.1:40123", ""]) == "redis"


def test_a_version_counts_as_acknowledged_only_by_a_success() -> None:
    book, step = Book(), Step(number=1, version=0, way=Way.NEW)
    book.sending(("1.2", 0), step)
    for answer in ("0xA700", "no response"):
        book.answered(("1.2", 0), answer)
        assert [each.acknowledged for each in book.sent()] == [False]
    book.answered(("1.2", 0), "0x0000")
    book.sending(("1.2", 0), step)
    book.answered(("1.2", 0), "0xA700")
    assert [each.acknowledged for each in book.sent()] == [True], "a repeat takes nothing back"
