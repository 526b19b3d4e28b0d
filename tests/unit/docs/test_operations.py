import re
from pathlib import Path
from typing import Final

from service import errors
from service.dicom.statuses import REJECTION_STATUSES
from service.domain.reasons import EXPLANATIONS, Reason
from service.receiving.listener.refusals import Aborted, Refused, Violation
from service.telemetry.metrics import ASSOCIATION_REFUSALS

ROOT: Final = Path(__file__).resolve().parents[3]
PAGE: Final = (ROOT / "docs" / "operations.md").read_text()
CODE: Final = "\n".join(
    path.read_text()
    for package in ("service", "workers")
    for path in (ROOT / package).rglob("*.py")
)


def section(heading: str) -> str:
    level = heading.partition(" ")[0]
    return re.split(
        rf"^#{{2,{len(level)}}} ", PAGE.split(f"\n{heading}\n", 1)[1], flags=re.MULTILINE
    )[0]


def rows(heading: str) -> list[list[str]]:
    lines = [line for line in section(heading).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def test_every_reason_is_explained_once_under_what_it_leads_to() -> None:
    rejected = [reason for reason, *_ in rows("### Rejected")]
    assert rejected == [f"`{reason}`" for reason in Reason if reason in REJECTION_STATUSES]
    others = [reason for part in ("Not analysed", "Parked") for reason, *_ in rows(f"### {part}")]
    assert others == [f"`{reason}`" for reason in Reason if reason not in REJECTION_STATUSES]
    parked = [reason for reason, *_ in rows("### Parked")]
    assert parked[0] == f"`{Reason.ATTEMPTS_EXHAUSTED}`"


def test_a_reason_is_explained_as_the_service_explains_it_and_something_can_be_done() -> None:
    for part in ("Rejected", "Not analysed", "Parked"):
        for reason, *cells in rows(f"### {part}"):
            code = Reason(reason.strip("`"))
            status = [f"0x{REJECTION_STATUSES[code]:04X}"] if part == "Rejected" else []
            assert cells[:-1] == [*status, EXPLANATIONS[code]]
            assert cells[-1].endswith(".")


def test_every_reason_to_refuse_an_association_is_explained_and_counted() -> None:
    explained = [
        (reason.strip("`"), event) for reason, event, *_ in rows("### Refused associations")
    ]
    assert explained[: len(Refused) + len(Aborted)] == [
        *((each.value, "`association_rejected`") for each in Refused),
        *((each.value, "`association_aborted`") for each in Aborted),
    ]
    violations = [violation for violation, _ in explained[len(Refused) + len(Aborted) + 1 :]]
    assert violations == [each.value for each in Violation]
    (family,) = ASSOCIATION_REFUSALS.collect()
    counted = {sample.labels.get("reason") for sample in family.samples}
    assert counted >= {each.value for each in (*Refused, *Aborted)}


def test_every_exit_status_is_explained() -> None:
    in_code = {value for name, value in vars(errors).items() if name.startswith("EX_")}
    given = {int(number) for number in re.findall(r"_fail\(.*, (\d+)\)", CODE)}
    in_table = {int(status) for status, _ in rows("## Exit statuses")}
    assert in_table == {0, 1, 2} | in_code | given


def test_the_example_of_a_trace_has_events_that_happen() -> None:
    happened = re.findall(
        r"^ \d{4}-\d\d-\d\d [\d:.+]+  (\S+)", section("## Status and trace"), re.MULTILINE
    )
    assert len(happened) > 5
    assert {name for name in happened if f'"{name}"' not in CODE} == set()


def test_every_event_and_metric_that_is_named_exists() -> None:
    watched = [name for cell, _ in rows("## Log") for name in re.findall(r"`(\w+)`", cell)]
    states = {"parked"}
    assert len(watched) > 10
    assert {name for name in watched if f'"{name}"' not in CODE} <= states
    metrics = set(re.findall(r"`(lobar_\w+)", PAGE))
    assert metrics
    assert {name for name in metrics if f'"{name}"' not in CODE} == set()
