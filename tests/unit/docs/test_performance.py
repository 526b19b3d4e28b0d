"""docs/performance.md is what the benchmark's writer makes of the figures beside it."""

import importlib.util
import re
from pathlib import Path

import pytest
from bench.__main__ import MODULES
from bench.harness.aims import AIMS
from bench.harness.figures import Results, read_results
from bench.harness.page import page_of

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture(scope="module")
def results() -> Results:
    return read_results(DOCS / "performance.json")


def test_the_page_was_written_from_the_figures(results: Results) -> None:
    assert (DOCS / "performance.md").read_text() == page_of(results), (
        "run `make bench`, or after a change of the writer: PYTHONPATH=tests:monai_bundle "
        "python -m bench --from docs/performance.json --page docs/performance.md"
    )


def test_each_figure_has_the_command_that_measures_it_above_its_table(results: Results) -> None:
    sections = (DOCS / "performance.md").read_text().split("\n## ")[1:]
    by_title = {section.partition("\n")[0]: section for section in sections}
    measured = [part for part in results.parts if part.figures]
    assert measured
    for part in measured:
        section = by_title[part.title]
        command, _, tables = section.partition("\n|")
        assert f"```sh\n{part.command}\n```" in command
        assert all(f"| {figure.case} |" in tables for figure in part.figures), part.name
        module = re.search(r"-m (\S+)", part.command)
        assert module
        assert importlib.util.find_spec(module[1]), part.command


def test_the_page_describes_the_machine(results: Results) -> None:
    assert {"processor", "cores", "memory", "file system", "Orthanc", "DCMTK"} <= set(
        results.machine
    )


def test_each_part_of_the_benchmark_is_there(results: Results) -> None:
    assert {part.name for part in results.parts} <= set(MODULES)


def test_each_aim_is_of_a_part_of_the_benchmark() -> None:
    selectors = [each for aim in AIMS for each in aim.selectors]
    assert {each.part for each in selectors} <= set(MODULES)
