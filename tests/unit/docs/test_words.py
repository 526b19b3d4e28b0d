import re
from pathlib import Path
from typing import Final

import pytest

from service.domain.delivery import DeliveryState
from service.domain.job import FINISHED, FOLLOWERS, JobState
from workers.prediction import Finding

ROOT: Final = Path(__file__).resolve().parents[3]
GLOSSARY: Final = ROOT / "docs" / "glossary.md"
ARCHITECTURE: Final = ROOT / "docs" / "architecture.md"


def sections(page: Path) -> dict[str, str]:
    parts = re.split(r"^## (.*)$", page.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def table(text: str, head: str) -> list[tuple[str, ...]]:
    """Return the rows below a table's head, as tuples of cells."""
    rows = text.split(f"{head}\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return [tuple(cell.strip() for cell in row.strip("|").split(" | ")) for row in rows]


@pytest.mark.parametrize(
    ("head", "values"),
    [("| Of a job | Fact |", JobState), ("| Of a delivery | Fact |", DeliveryState)],
)
def test_the_glossary_says_what_each_state_means(
    head: str, values: type[JobState] | type[DeliveryState]
) -> None:
    rows = table(sections(GLOSSARY)["States"], head)
    assert [state for state, _ in rows] == [f"`{state}`" for state in values]
    assert all(meaning.endswith(".") for _, meaning in rows)


def test_the_glossary_names_every_finding() -> None:
    (row,) = (
        each for each in GLOSSARY.read_text().splitlines() if each.startswith("| **finding**")
    )
    assert all(f"`{finding}`" in row for finding in Finding)


def test_the_diagram_of_states_is_the_table_of_what_may_follow() -> None:
    drawn = set(
        re.findall(r"^    (\S+) --> (\S+)$", sections(ARCHITECTURE)["States"], re.MULTILINE)
    )
    rules = {(state, follower) for state, all_ in FOLLOWERS.items() for follower in all_}
    ends = {(state, "[*]") for state in FINISHED}
    assert drawn == rules | ends | {("[*]", "received")}


def test_no_word_is_explained_twice() -> None:
    words = re.findall(r"^\| (\*\*.*?) \| ", GLOSSARY.read_text(), re.MULTILINE)
    names = [name for cell in words for name in re.findall(r"\*\*(.*?)\*\*", cell)]
    assert len(names) > 40
    assert len(names) == len(set(names))


def test_words_that_the_glossary_rules_out_are_not_used() -> None:
    rows = table(sections(GLOSSARY)["Words that are not used"], "| Instead of | Use |")
    banned = [word for cell, _ in rows for word in cell.split(", ")]
    assert {"dead letter", "door", "lane"} <= set(banned)
    pattern = re.compile(rf"\b(?:{'|'.join(banned)})s?\b".replace(" ", r"[ _-]"), re.IGNORECASE)
    texts = [
        *(ROOT / "service").rglob("*.py"),
        *(ROOT / "service").rglob("*.html"),
        *(ROOT / "workers").rglob("*.py"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "README.md",
    ]
    used = {
        f"{path.relative_to(ROOT)}: {found[0]}"
        for path in texts
        if path != GLOSSARY
        for found in pattern.finditer(path.read_text())
    }
    assert used == set()
