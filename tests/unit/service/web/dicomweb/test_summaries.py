"""What is kept of headers: little, for a while, and nothing of a file that is gone."""

from pathlib import Path

import pytest
from synthetic.objects import make_cr
from synthetic.part10 import part10

from service.web.dicomweb.search import SUMMARY_TAGS
from service.web.dicomweb.summaries import KEPT_SECONDS, MOST_CHARACTERS, Summaries


class Clock:
    """A double of the monotonic clock."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def summaries(clock: Clock) -> Summaries:
    return Summaries(SUMMARY_TAGS, clock)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    source = make_cr(rows=8, columns=8, patient_name="DOE^JANE")
    for number in range(200):
        source.add_new(0x00091100 + number, "LO", "private")
    source.PatientComments = "not returned by a search"
    made = tmp_path / "a.dcm"
    made.write_bytes(part10(source))
    return made


def test_only_what_searches_return_or_match_is_kept(summaries: Summaries, path: Path) -> None:
    summary = summaries.of(path)
    assert summary["00100010"]["Value"] == [{"Alphabetic": "DOE^JANE"}]
    assert summary["00180015"]["Value"] == ["CHEST"]
    assert summary.keys() <= set(SUMMARY_TAGS)
    assert "00104000" not in summary
    assert not [tag for tag in summary if tag.startswith("0009")]


def test_a_file_that_is_gone_is_not_answered_and_not_kept(summaries: Summaries, path: Path) -> None:
    assert summaries.of(path) == summaries.of(path)
    assert len(summaries) == 1
    path.unlink()
    with pytest.raises(FileNotFoundError):
        summaries.of(path)
    assert len(summaries) == 0


def test_a_file_that_was_replaced_is_read_again(summaries: Summaries, path: Path) -> None:
    summaries.of(path)
    other = path.with_name("b.dcm")
    other.write_bytes(part10(make_cr(rows=8, columns=8, patient_name="ROE^RICHARD")))
    other.replace(path)
    assert summaries.of(path)["00100010"]["Value"] == [{"Alphabetic": "ROE^RICHARD"}]
    assert len(summaries) == 1


def test_after_a_while_nothing_of_what_was_removed_is_kept(
    summaries: Summaries, path: Path, clock: Clock
) -> None:
    summaries.of(path)
    other = path.with_name("b.dcm")
    other.write_bytes(path.read_bytes())
    path.unlink()
    clock.now += KEPT_SECONDS + 1
    summaries.of(other)
    assert len(summaries) == 1


def test_a_summary_is_bounded_and_has_its_uids_all_the_same(
    summaries: Summaries, tmp_path: Path
) -> None:
    source = make_cr(rows=8, columns=8)
    long = "\\".join(["X" * 16] * 43)
    for keyword in ("ImageType", "PatientName", "StudyDescription", "StudyID", "InstitutionName"):
        setattr(source, keyword, long.split("\\"))
    source.ProtocolName = source.StationName = source.SeriesDescription = long.split("\\")
    path = tmp_path / "long.dcm"
    path.write_bytes(part10(source))
    summary = summaries.of(path)
    assert summary["0020000E"]["Value"] == [source.SeriesInstanceUID]
    assert len(str(summary)) < 2 * MOST_CHARACTERS
    assert {"00081030", "00081040", "00181030"} - summary.keys()
