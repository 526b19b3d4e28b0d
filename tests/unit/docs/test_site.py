"""The pages as a site: every page has its place, every link leads somewhere, nothing is fetched."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from support.built_site import CONFIGURATION, Page, build_site
from support.command_blocks import PAGES, ROOT

DECISION: Final = re.compile(r"docs/adr/\d{4}-.*\.md")
EXTERNAL: Final = "external_links.txt"
IN_NAVIGATION: Final = re.findall(r": (\S+\.md)$", CONFIGURATION.read_text(), re.MULTILINE)
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once for all tests here."""
    folder = tmp_path_factory.mktemp("site")
    done = build_site(folder)
    assert done.returncode == 0, done.stderr
    return folder


def place_of(page: Path) -> Path:
    """Return where a page lies in the site."""
    path = page.relative_to(ROOT)
    return path.with_name("index.html") if path.name == "README.md" else path.with_suffix(".html")


def built(site: Path) -> Iterator[Page]:
    for page in PAGES:
        yield Page(site / place_of(page))


@pages
def test_every_page_has_a_place_in_the_navigation(page: Path) -> None:
    name = str(page.relative_to(ROOT))
    if not DECISION.fullmatch(name):
        assert name in IN_NAVIGATION, f"add {name} to nav in deploy/site/mkdocs.yml"


def test_no_page_has_two_places_in_the_navigation() -> None:
    assert len(IN_NAVIGATION) == len(set(IN_NAVIGATION)) > 30


def test_every_link_within_the_site_leads_to_a_file_and_a_heading_of_it(site: Path) -> None:
    found = {page.path: page for page in built(site)}
    links = [(page, link) for page in found.values() for link in (*page.links, *page.loaded)]
    assert len(links) > 1000
    for page, link in links:
        split = urlsplit(link)
        if split.scheme or link in {"", "."}:
            continue
        target = (page.path.parent / unquote(split.path)).resolve() if split.path else page.path
        assert target.exists(), f"{page.path.relative_to(site)}: {link}"
        if split.fragment and target in found:
            assert unquote(split.fragment) in found[target].ids, (
                f"{page.path.relative_to(site)}: {link}"
            )


def test_links_that_leave_the_site_are_listed_and_nothing_is_loaded_from_elsewhere(
    site: Path,
) -> None:
    listed = {line.split("  ")[0] for line in (site / EXTERNAL).read_text().splitlines()}
    leaving = set()
    for page in built(site):
        assert [each for each in page.loaded if urlsplit(each).netloc] == []
        leaving |= {each for each in page.links if urlsplit(each).netloc}
    assert listed <= leaving
    for link in leaving - listed:  # of the theme
        assert "squidfunk.github.io" in link, link
    for link in listed:
        assert link.startswith(("https://", "http://127.0.0.1")), link


@pages
def test_a_page_of_the_site_has_the_lists_tables_and_code_of_its_source(
    site: Path, page: Path
) -> None:
    """Python-Markdown reads some things in another way than GitHub, such as nested lists."""
    text = page.read_text()
    source = MarkdownIt().enable("table").parse(text)
    shown = Page(site / place_of(page))
    for element, token in {"li": "list_item_open", "tr": "tr_open"}.items():
        wanted = sum(each.type == token for each in source)
        assert shown.elements[element] == wanted, (
            f"{element}: {shown.elements[element]} instead of {wanted}; begin a list after an "
            "empty line, and indent what belongs to an item by four"
        )
    interrupted = [each for each in source if each.type == "ordered_list_open" and each.attrs]
    assert interrupted == [], "a list that begins anew at another number: indent what is between"
    fences = sum(each.type == "fence" for each in source)
    assert shown.elements["pre"] == fences
    spans = [span for each in source for span in each.children or [] if span.type == "code_inline"]
    assert shown.text.count("<!--") == sum("<!--" in span.content for span in spans)


def test_the_files_that_pages_link_to_are_in_the_site(site: Path) -> None:
    for name in ("deploy/lobar.example.toml", "docs/pages/worklist-dark.png", "LICENSE"):
        assert (site / name).read_bytes() == (ROOT / name).read_bytes()
