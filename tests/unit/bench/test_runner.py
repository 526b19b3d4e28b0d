"""The run of all parts goes on whatever one of them does."""

from pathlib import Path

import pytest
from bench.__main__ import MODULES, main, run_parts
from bench.harness.figures import PartResult, Results, write_json
from bench.harness.page import page_of


def test_a_part_that_fails_is_left_out_and_the_next_is_run() -> None:
    # the peer of the benchmark needs arguments, and has no option --output
    modules = {"fails": "bench.receivers.naive", "gone": "bench.not_there"}
    fails, gone = run_parts(modules, 60, quick=True)
    assert fails.left_out == ("the whole part, which failed with status 1",)
    assert fails.command.endswith("-m bench.receivers.naive")
    assert gone.left_out == ("the whole part, which is not in this version",)
    assert not fails.figures
    assert not gone.figures


def test_no_part_begins_after_the_time_of_a_run() -> None:
    (part,) = run_parts({"idle": MODULES["idle"]}, 0, quick=True)
    assert part.left_out == ("the whole part, which did not begin, for lack of time",)


def test_a_part_that_takes_too_long_is_ended() -> None:
    (part,) = run_parts({"slow": MODULES["hand-over"]}, 0.1, quick=True)
    assert part.left_out == ("the whole part, which took too long, and was ended",)
    assert not part.figures


def test_a_part_that_ends_without_figures_is_left_out() -> None:
    (part,) = run_parts({"quiet": "this"}, 60, quick=True)
    assert part.left_out == ("the whole part, which wrote no figures",)


def test_an_unknown_part_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="no such part: speed; there are receive, "):
        main(["--only", "receive,speed"])
    assert capsys.readouterr().out == ""


def test_the_page_is_written_from_figures_without_measuring(tmp_path: Path) -> None:
    part = PartResult(
        name="idle",
        title="Idle",
        text="Words.",
        command="python -m bench.parts.idle",
        ours="Lobar",
        seconds=1,
        figures=(),
        left_out=("everything, for a test",),
    )
    figures, page = tmp_path / "figures.json", tmp_path / "page.md"
    write_json(figures, Results(machine={"cores": "2"}, command="make bench", parts=(part,)))
    main(["--from", str(figures), "--page", str(page)])
    text = page.read_text()
    assert "| cores | 2 |" in text
    assert "\n```sh\npython -m bench.parts.idle\n```\n" in text
    assert "Left out: everything, for a test." in text


@pytest.mark.parametrize(("load", "is_said"), [("0.2", False), ("16.4", True)])
def test_the_page_says_when_other_programs_ran(load: str, *, is_said: bool) -> None:
    results = Results(machine={"cores": "2", "load before": load}, command="make bench", parts=())
    assert ("Other programs ran" in page_of(results)) == is_said
