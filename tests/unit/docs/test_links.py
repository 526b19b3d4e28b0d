import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[3]
ADRS: Final = ROOT / "docs" / "adr"
PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS: Final = ("service", "workers", "monai_bundle", "deploy", "tests", "docs")
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def code(text: str) -> list[str]:
    """Return what stands in code spans, fenced blocks and indented blocks, comments left out."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    rest = without_blocks(text)
    lines = [*"\n".join(blocks).splitlines(), *re.findall(r"^    (.*)$", rest, re.MULTILINE)]
    return [*re.findall(r"`([^`\n]+)`", rest), *(line.split("#")[0] for line in lines)]


def links(text: str) -> list[str]:
    targets = re.findall(r"\]\(([^)\s]+)\)", without_blocks(text))
    return [target for target in targets if "://" not in target]


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pages
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in links(page.read_text()):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pages
def test_every_path_that_is_named_exists(page: Path) -> None:
    for span in code(page.read_text()):
        if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./*-]*", span):
            assert list(ROOT.glob(span.rstrip("/"))), span


@pages
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        name for each in code(page.read_text()) for name in re.findall(r"^make ([\w-]+)", each)
    }
    assert named <= targets


def test_the_first_thing_in_the_readme_are_the_two_commands() -> None:
    commands = code((ROOT / "README.md").read_text().split("\n## ")[0])
    assert [re.split(r"\s{2,}", each)[0] for each in commands if each.startswith("make")][:2] == [
        "make demo",
        "make test",
    ]


def test_every_decision_is_in_the_index_under_its_number_and_title() -> None:
    index = (ADRS / "README.md").read_text()
    decisions = sorted(ADRS.glob("[0-9]*.md"))
    assert decisions
    for each in decisions:
        number, title = each.read_text().splitlines()[0].removeprefix("# ").split(". ", 1)
        assert int(each.name[:4]) == int(number)
        assert f"| [{number}]({each.name}) | {title} |" in index


def test_no_page_names_a_place_on_somebodys_machine() -> None:
    for page in PAGES:
        for place in (r"/home/\w", r"/root/"):
            assert not re.search(place, page.read_text()), (page.name, place)
