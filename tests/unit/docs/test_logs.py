"""docs/logs.md lists every event that the code can log, with its levels and fields."""

import re
from pathlib import Path
from typing import Final

import pytest
from support.log_events import OF_ERRORS, LoggedEvent, logged_events, other_uses

from service.telemetry.structured_log import FIELDS, NUMBERS

PAGE: Final = (Path(__file__).resolve().parents[3] / "docs" / "logs.md").read_text()
EVENTS: Final = logged_events()
ROW: Final = re.compile(
    r"^\| `([a-z0-9_]+)` \| ([a-z, ]+) \| ((?:`[a-z_]+`(?:, )?)*) \| (.+) \|$", re.MULTILINE
)
ALWAYS: Final = {"timestamp", "level", "event"}


def described_events() -> dict[str, tuple[LoggedEvent, str]]:
    rows = ROW.findall(PAGE.split("## Fields")[0])
    assert len({name for name, *_ in rows}) == len(rows), "an event is described twice"
    return {
        name: (
            LoggedEvent(set(levels.split(", ")), set(re.findall(r"`([a-z_]+)`", fields))),
            meaning,
        )
        for name, levels, fields, meaning in rows
    }


def described_fields() -> dict[str, tuple[str, str]]:
    table = PAGE.split("## Fields")[1]
    rows = re.findall(r"^\| `([a-z_]+)` \| (.+?) \| (.+) \|$", table, re.MULTILINE)
    return {name: (form, meaning) for name, form, meaning in rows}


def test_every_event_of_the_code_is_described_and_none_that_is_gone() -> None:
    assert described_events().keys() == EVENTS.keys()


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_an_event_is_described_with_its_levels_its_fields_and_what_it_means(name: str) -> None:
    described, meaning = described_events()[name]
    assert described == EVENTS[name]
    assert meaning.endswith(".")


def test_every_field_of_the_code_is_described_and_none_that_no_event_has() -> None:
    logged = {field for event in EVENTS.values() for field in event.fields}
    assert described_fields().keys() == {*ALWAYS, *logged, *OF_ERRORS}


def test_a_field_is_described_in_the_form_that_the_allow_list_has() -> None:
    for name, (form, _) in described_fields().items():
        if name not in ALWAYS:
            is_number, is_text = name in NUMBERS, name in FIELDS
            assert is_number or is_text, name
            assert ("number" in form or form == "boolean") == is_number, name
            assert (form not in {"number", "boolean"}) == is_text, name


def test_the_log_is_used_by_calls_alone_so_that_none_is_missed() -> None:
    assert other_uses() == []
