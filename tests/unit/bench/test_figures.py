"""Figures, their tables, and the aims that they are held against."""

import json
import signal
from pathlib import Path

import pytest
from bench.harness.aims import AIMS, table_of_aims
from bench.harness.figures import Figure, PartResult, Results, ratio, read_results, write_json
from bench.harness.part import Measurement, Part
from bench.harness.tables import markdown, number


def figure(case: str, subject: str, *samples: float, table: str = "Images a second") -> Figure:
    return Figure(table=table, case=case, subject=subject, samples=samples)


def part(*figures: Figure, name: str = "receive", left_out: tuple[str, ...] = ()) -> PartResult:
    return PartResult(
        name=name,
        title="Receiving",
        text="Words.",
        command="python -m bench.parts.receive",
        ours="Lobar",
        seconds=1.5,
        figures=figures,
        left_out=left_out,
    )


def test_a_ratio_compares_the_same_rounds() -> None:
    # the machine was twice as fast in the second round, for both
    ours, other = figure("", "Lobar", 10, 20, 12), figure("", "Orthanc", 5, 10, 6)
    assert ratio(ours, other) == 2
    assert ratio(ours, figure("", "Orthanc", 5)) == 2
    assert ratio(ours, figure("", "Orthanc", 0)) is None


def test_a_table_has_medians_spread_and_ratios() -> None:
    lines = markdown(
        part(
            figure("1 association", "Lobar", 40, 50, 60),
            figure("1 association", "Orthanc", 20, 25, 30),
            figure("4 associations", "Lobar", 7),
            left_out=("storescp, which is not here",),
        )
    ).splitlines()
    assert lines == [
        "| Images a second | Lobar | Orthanc | Lobar / Orthanc |",
        "| --- | ---: | ---: | ---: |",
        "| 1 association | 50.0 (40.0 to 60.0) | 25.0 (20.0 to 30.0) | 2.00 |",
        "| 4 associations | 7.00 |  |  |",
        "",
        "Left out: storescp, which is not here.",
    ]


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0"), (0.125, "0.12"), (12.34, "12.3"), (1234.5, "1,234")]
)
def test_a_number_has_three_digits_that_count(value: float, shown: str) -> None:
    assert number(value) == shown


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = Results(
        machine={"cores": "2"},
        command="make bench",
        parts=(part(figure("1 association", "Lobar", 40.5), left_out=("a thing",)),),
    )
    file = tmp_path / "figures.json"
    write_json(file, results)
    assert read_results(file) == results


def test_figures_of_another_format_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    file.write_text(json.dumps({"format": 99, "machine": {}, "command": "", "parts": []}))
    with pytest.raises(ValueError, match="no results of format 1"):
        read_results(file)


def test_an_aim_is_held_against_the_best_count_of_processes() -> None:
    case = "7.2 MB uncompressed, 16 associations"
    table = table_of_aims(
        [
            part(
                figure(case, "Lobar", 30),
                figure(case, "Lobar, 2 processes", 45),
                figure(case, "Orthanc", 30),
                figure(case, "storescp --fork", 90),
            )
        ]
    )
    assert (
        "| receiving, 7.2 MB uncompressed, 16 associations: Lobar / Orthanc | ≥ 1.5 | 1.50 | met |"
        in table
    )
    assert "Lobar / storescp --fork | ≥ 0.9 | 0.50 | **not met** |" in table
    assert "4 associations" not in table, "what was not measured is neither met nor missed"


def test_an_upper_bound_is_held_against_the_figure() -> None:
    table = table_of_aims(
        [
            part(
                figure("infer", "Lobar", 3.5, table="Seconds until ready"),
                figure("the whole service", "Lobar", 9, table="Seconds until ready"),
                name="start-up",
            )
        ]
    )
    assert "| seconds until the infer worker is ready | ≤ 4 | 3.50 | met |" in table
    assert len(table.splitlines()) == 3


def test_growth_is_what_the_ledger_adds_to_all_that_an_image_costs() -> None:
    costs = "Processor time, ms an image of a burst"
    image = [
        figure(f"7.2 MB uncompressed: {role}", "Lobar", cost, table=costs)
        for role, cost in (("infer", 16), ("listener", 3))
    ]
    shares = [
        figure(step, subject, cost, table="Milliseconds a job")
        for subject, step, cost in (
            ("1,000,000 rows, 100,000 due", "receipt", 2),
            ("1,000,000 rows, 100,000 due", "from lease to delivered", 3),
            ("100 rows, 10 due", "receipt", 0.5),
            ("100 rows, 10 due", "from lease to delivered", 0.7),
        )
    ]
    words = "| what an image of 7.2 MB uncompressed costs: 1,000,000 rows, 100,000 due / 100 rows |"
    backlog = part(*shares, name="backlog")
    table = table_of_aims([part(*image, name="end-to-end"), backlog])
    assert f"{words} ≤ 1.1 | 1.20 | **not met** |" in table
    assert words not in table_of_aims([backlog]), "a part of it is missing"


def test_each_aim_has_one_bound() -> None:
    assert all((aim.at_least is None) != (aim.at_most is None) for aim in AIMS)
    assert len({aim.words for aim in AIMS}) == len(AIMS)


def _two_rounds(measurement: Measurement) -> None:
    for number_of_round in measurement.rounds(2):
        measurement.add("ms", "a case", "Lobar", 1.0 + number_of_round)


def test_a_part_writes_its_figures_with_the_command_that_repeats_them(tmp_path: Path) -> None:
    output = tmp_path / "part.json"
    made = Part(
        name="a",
        title="A part",
        text="Words.",
        seconds=60,
        quick_seconds=0,
        measure=_two_rounds,
        module="bench.parts.a",
    )
    made.main(["--output", str(output)])
    written = json.loads(output.read_text())
    assert written["command"].endswith("python -m bench.parts.a")
    assert written["figures"][0]["samples"] == [1.0, 2.0]
    assert written["left_out"] == []


def test_a_part_without_time_ends_after_one_round_and_says_so() -> None:
    measurement = Measurement(quick=True, seconds=0)
    assert list(measurement.rounds(3)) == [0]
    made = Part(
        name="a",
        title="",
        text="",
        seconds=0,
        quick_seconds=0,
        measure=_two_rounds,
        module="bench.parts.a",
    )
    assert measurement.result(made).left_out == ("2 of 3 rounds, for lack of time",)


def _ended_in_a_round(measurement: Measurement) -> None:
    for number_of_round in measurement.rounds(2):
        if number_of_round:
            signal.raise_signal(signal.SIGTERM)
        measurement.add("ms", "a case", "Lobar", 1.0)


def test_a_part_that_is_ended_writes_the_figures_that_it_has(tmp_path: Path) -> None:
    output = tmp_path / "part.json"
    before = signal.getsignal(signal.SIGTERM)
    made = Part(
        name="a",
        title="A part",
        text="Words.",
        seconds=60,
        quick_seconds=60,
        measure=_ended_in_a_round,
        module="bench.parts.a",
    )
    try:
        made.main(["--output", str(output)])
    finally:
        signal.signal(signal.SIGTERM, before)
    written = json.loads(output.read_text())
    assert written["figures"][0]["samples"] == [1.0]
    assert written["left_out"] == ["what follows the last figure, for lack of time"]
