"""Verdicts of radiologists become labels of a hospital's own films."""

import csv
import hashlib
import io
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from pydicom import Dataset
from scripts.data.datasets import Radiograph
from scripts.data.manifest import read_manifest, with_judged
from scripts.data.verdicts import (
    Judgement,
    data_set_digests,
    judged_films,
    label_of_film,
    read_verdicts,
)
from synthetic.objects import make_cr

from service.dicom.data_set_digest import digest_of
from service.dicom.element_reader import read_file_meta
from service.web.verdicts.table import COLUMNS

DAY: Final = "2026-05-{:02}T12:00:00+00:00"


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    film: Path
    opinion: str = "agree"
    right: str = ""
    finding: str = "present"
    reader: str = "reader-1"
    day: int = 1
    uid: str = "1.2.3"


def store(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def film(folder: Path, number: int, patient: str = "P1") -> Path:
    dataset = make_cr(rows=16, columns=16)
    dataset.PatientID = patient
    dataset.InstanceNumber = number
    return store(dataset, folder / f"{number}.dcm")


def table(path: Path, lines: Sequence[Line]) -> Path:
    """Write a table with the columns that the service writes."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        for line in lines:
            writer.writerow(
                {
                    "digest": data_set_digests(line.film)[0],
                    "sop_instance_uid": line.uid,
                    "finding": line.finding,
                    "probability": "0.9",
                    "operating_point": "'+balanced",
                    "model": "m 1",
                    "opinion": line.opinion,
                    "right_finding": line.right,
                    "reader": line.reader,
                    "time": DAY.format(line.day),
                }
            )
    return path


def judgements(tmp_path: Path, *lines: Line) -> list[Judgement]:
    return read_verdicts(table(tmp_path / "verdicts.csv", lines))


def test_the_hash_of_a_film_is_that_of_its_data_set_as_the_service_takes_it(
    tmp_path: Path,
) -> None:
    path = film(tmp_path, 1)
    with path.open("rb") as stream:
        offset = read_file_meta(stream).offset
    content = path.read_bytes()
    data_set = content[offset:]
    at_first = hashlib.sha256(data_set).hexdigest()
    assert data_set_digests(path) == (digest_of(io.BytesIO(data_set)), at_first)
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(data_set)
    assert data_set_digests(bare) == data_set_digests(path)
    other_meta = tmp_path / "other.dcm"
    other_meta.write_bytes(content.replace(b"DICM", b"DICM" + b"\2\0\0\0UL\4\0" + b"\0" * 4, 1))
    assert data_set_digests(other_meta)[1] != hashlib.sha256(other_meta.read_bytes()).hexdigest()
    for odd in (b"", b"x", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM\2\0\0\0OB\0\0\xff"):
        path.write_bytes(odd)
        assert [len(each) for each in data_set_digests(path)] == [63, 64]


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ([("a", "present")], 1.0),
        ([("a", "absent")], 0.0),
        ([("a", None)], None),
        ([("a", "indeterminate")], None),
        ([("a", "present"), ("b", "absent")], None),
        ([("a", "present"), ("b", None)], None),
        ([("a", "present"), ("b", "present"), ("c", "absent")], 1.0),
        ([("a", "absent"), ("b", "absent"), ("c", None)], 0.0),
        ([("a", "absent"), ("b", "present"), ("c", "indeterminate")], None),
        ([("a", "present"), ("a", "absent")], 0.0),
        ([("a", "present"), ("b", "absent"), ("b", "present")], 1.0),
        ([("a", "present"), ("a", None)], None),
    ],
)
def test_a_label_needs_more_than_half_of_the_readers_and_the_latest_of_each_counts(
    tmp_path: Path, votes: list[tuple[str, str | None]], label: float | None
) -> None:
    path = film(tmp_path / "films", 1)
    lines = [
        Line(
            film=path,
            reader=reader,
            opinion="unsure" if right is None else "agree",
            finding=right or "present",
            day=day,
        )
        for day, (reader, right) in enumerate(votes, start=1)
    ]
    assert label_of_film(judgements(tmp_path, *lines)) == label
    assert label_of_film(judgements(tmp_path, *lines[::-1])) == label  # by time, not by line


def test_who_disagrees_names_the_label(tmp_path: Path) -> None:
    path = film(tmp_path / "films", 1)
    found = judgements(tmp_path, Line(film=path, opinion="disagree", right="absent"))
    (row,) = judged_films(found, tmp_path / "films").rows
    assert (row["label"], row["kind"], row["image"]) == (0.0, "normal", str(path))
    assert (row["source"], row["basis"]) == ("verdict", "reading")
    assert row["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert row["patient"] == hashlib.sha256(b"P1").hexdigest()[:16]


def test_a_film_whose_header_an_archive_changed_is_found_by_its_uid(tmp_path: Path) -> None:
    dataset = make_cr(rows=16, columns=16)
    judged = store(dataset, tmp_path / "judged.dcm")
    found = judgements(tmp_path, Line(film=judged, uid=str(dataset.SOPInstanceUID)))
    dataset.InstitutionName = "changed by the archive"
    changed = store(dataset, tmp_path / "films" / "deep" / "changed.dcm")
    (tmp_path / "films" / "notes.txt").write_text("not DICOM")
    assert [row["image"] for row in judged_films(found, tmp_path / "films").rows] == [str(changed)]
    judged.rename(tmp_path / "films" / "judged.dcm")
    (row,) = judged_films(found, tmp_path / "films").rows
    assert row["image"] == str(tmp_path / "films" / "judged.dcm")  # the same bytes come first


def test_a_uid_of_two_films_names_neither(tmp_path: Path) -> None:
    dataset = make_cr(rows=16, columns=16)
    uid = str(dataset.SOPInstanceUID)
    one = store(dataset, tmp_path / "one.dcm")
    dataset.InstanceNumber = 7
    two = store(dataset, tmp_path / "two.dcm")
    found = judgements(tmp_path, Line(film=one, uid=uid), Line(film=two, uid=uid))
    dataset.InstanceNumber = 8
    store(dataset, tmp_path / "films" / "third.dcm")
    assert judged_films(found, tmp_path / "films").missing == 2


def test_films_without_a_decision_or_a_file_are_counted(tmp_path: Path) -> None:
    here, undecided = film(tmp_path / "films", 1), film(tmp_path / "films", 2)
    gone = film(tmp_path, 3)
    found = judgements(
        tmp_path,
        Line(film=here),
        Line(film=undecided, opinion="unsure", uid="1.2.4"),
        Line(film=gone, uid="1.2.5"),
    )
    films = judged_films(found, tmp_path / "films")
    assert (len(films.rows), films.undecided, films.missing) == (1, 1, 1)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("image,label\n", "it has no column digest"),
        ("{header}\nx\n", "line 2: expected a reader, an opinion and findings"),
        ("{header}\nx,1.2,maybe,agree,,reader-1,2026-05-01\n", "line 2: expected a reader"),
        ("{header}\nx,1.2,present,disagree,,reader-1,2026-05-01\n", "line 2: expected a reader"),
        ("{header}\nx,1.2,present,perhaps,,reader-1,2026-05-01\n", "line 2: expected a reader"),
        ("{header}\nx,1.2,present,agree,,reader-1,soon\n", "line 2: 'soon' is no time"),
    ],
)
def test_a_table_that_cannot_be_used_names_its_line(
    tmp_path: Path, text: str, complaint: str
) -> None:
    header = "digest,sop_instance_uid,finding,opinion,right_finding,reader,time"
    path = tmp_path / "verdicts.csv"
    path.write_text(text.replace("{header}", header))
    with pytest.raises(ValueError, match=complaint):
        read_verdicts(path)


def test_a_table_from_before_the_digests_had_a_name_finds_its_films(tmp_path: Path) -> None:
    path = film(tmp_path / "films", 1)
    (now, at_first), written = data_set_digests(path), tmp_path / "verdicts.csv"
    table(written, [Line(film=path, uid="1.2.9")])
    earlier = written.read_text().replace("digest", "sha256", 1).replace(now, at_first)
    written.write_text(earlier)
    (row,) = judged_films(read_verdicts(written), tmp_path / "films").rows
    assert row["image"] == str(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a CSV file in UTF-8"):
        read_verdicts(path)


def test_films_of_the_sets_keep_their_label_and_part() -> None:
    def row(sha256: str, label: float = 1.0, part: str = "") -> Radiograph:
        return Radiograph(
            image=sha256,
            label=label,
            patient=sha256,
            cohort="a",
            kind="b",
            sha256=sha256,
            part=part,
        )

    sets = [row("known", label=0.0, part="fold-3")]
    found = with_judged(sets, [row("known"), row("new"), row("copy"), row("copy", label=0.0)])
    assert [(each["sha256"], each["label"]) for each in found] == [("known", 0.0), ("new", 1.0)]
    assert found[0]["part"] == "fold-3"
    assert found[1]["part"]


def manifest(bundle: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.data.manifest", *map(str, words)],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_adds_the_judged_films_to_a_hospital_s_list(
    bundle: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    paths = [film(archive, number, patient=f"P{number // 2}") for number in range(80)]
    (tmp_path / "list.csv").write_text(
        "image,label\n" + "".join(f"archive/{n}.dcm,{n % 2}\n" for n in range(60))
    )
    lines = [
        Line(film=path, finding=("absent", "present")[number % 2], uid=f"1.2.{number}")
        for number, path in enumerate(paths)
        if number >= 60
    ]
    # one film is in the list too, and called otherwise there
    lines.append(Line(film=paths[0], opinion="disagree", right="indeterminate", uid="1.2.0"))
    lines.append(Line(film=paths[1], finding="absent", uid="1.2.1"))
    verdicts = table(tmp_path / "verdicts.csv", lines)
    words = (tmp_path / "manifest.csv", "--list", tmp_path / "list.csv", "--verdicts", verdicts)
    done = manifest(bundle, *words, "--images", archive)
    assert done.returncode == 0, done.stderr
    assert (
        "21 films with a verdict; 1 on which the readers do not decide and 0 not in" in done.stdout
    )
    rows = read_manifest(tmp_path / "manifest.csv")
    judged = [row for row in rows if row.get("source") == "verdict"]
    assert (len(rows), len(judged)) == (79, 20)
    assert {row["label"] for row in judged} == {0.0, 1.0}
    parts = {row["patient"]: row["part"] for row in rows}
    assert all(row["part"] == parts[row["patient"]] for row in rows)
    done = manifest(bundle, *words)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "--verdicts needs --images" in done.stderr
    done = manifest(bundle, *words, "--images", tmp_path / "nowhere")
    assert "there is no folder" in done.stderr
