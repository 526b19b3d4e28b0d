"""What the pages advise for a reason is what docs/operations.md says."""

import re
from pathlib import Path
from typing import Final

from service.domain.advice import ADVICE
from service.domain.reasons import NOT_ANALYSED, Reason

ROOT: Final = Path(__file__).resolve().parents[3]
# where the page refers to other pages, or to a command that the timeline stands for
IN_OTHER_WORDS: Final = {
    *(Reason.POPULATION, Reason.MULTI_FRAME, Reason.ATTEMPTS_EXHAUSTED),
    *(Reason.DESTINATION_REFUSED, Reason.DESTINATION_UNREACHABLE, Reason.NOT_COMMITTED),
}


def documented() -> dict[Reason, str]:
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.split("\n### Not analysed\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:3] == "| `"]
    return {Reason(row[0].strip("`")): re.sub("`", "", row[-1]).strip() for row in rows}


def test_there_is_advice_for_every_reason_that_a_job_stops_for() -> None:
    parked = tuple(Reason)[tuple(Reason).index(Reason.ATTEMPTS_EXHAUSTED) :]
    assert list(ADVICE) == [*NOT_ANALYSED, *parked]
    assert all(sentence.endswith(".") for sentence in ADVICE.values())


def test_the_advice_is_that_of_the_documentation() -> None:
    page = documented()
    assert page.keys() == ADVICE.keys()
    differing = {reason for reason, sentence in ADVICE.items() if page[reason] != sentence}
    assert differing <= IN_OTHER_WORDS | {Reason.REPORT_FAILED}
