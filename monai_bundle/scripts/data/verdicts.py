"""Turn radiologists' verdicts on reports into labels, for a training on a hospital's own films.

The service writes them (`lobar verdicts --csv`); they name films by the digest of the data set and
the SOP Instance UID, and nothing about the patient. The films themselves come from a folder.

What counts:

- the latest verdict of each reader on a film, whichever report it was about;
- who agrees means the report's finding, who disagrees the one that is named as right; who is
  unsure, or calls the film indeterminate, names neither label;
- a label needs more than half of the film's readers. Otherwise the film is left out.
"""

import csv
import hashlib
import struct
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

import pydicom
from blake3 import blake3

from scripts.checksum import sha256_of
from scripts.data.categories import Basis
from scripts.data.datasets import Radiograph, patient_in_header
from scripts.preprocessing.quiet_decoders import suppress_warnings

SOURCE: Final = "verdict"
COHORT: Final = "hospital"
LABEL_OF: Final = {"present": 1.0, "absent": 0.0}
_COLUMNS: Final = ("sop_instance_uid", "finding", "opinion", "right_finding", "reader", "time")
_DIGEST: Final = "digest"
_SHA256: Final = "sha256"  # the name of that column at first
_FINDINGS: Final = frozenset({"present", "absent", "indeterminate"})
_OPINIONS: Final = frozenset({"agree", "disagree", "unsure"})
_PREAMBLE_BYTES: Final = 128  # PS3.10 7.1
_FILE_META_GROUP: Final = 0x0002
_WITH_LONG_LENGTH: Final = frozenset({b"OB", b"OW", b"SQ", b"UN", b"UT"})  # PS3.5 table 7.1-1


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One reader's latest opinion of a film."""

    digest: str  # of the data set: `blake3:` and 56 digits, or a SHA-256 without a name
    sop_instance_uid: str
    reader: str
    right: str | None  # present, absent or indeterminate; None of one who is unsure
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedFilms:
    """The films with a label, and how many there are not."""

    rows: list[Radiograph]
    undecided: int  # films whose readers do not decide
    missing: int  # films that are not in the folder


def read_verdicts(path: str | Path) -> list[Judgement]:
    """Read a table that `lobar verdicts --csv` wrote; further columns are passed over.

    Raises:
        ValueError: a column is missing, or a line cannot be used; the message names the line.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            present = set(reader.fieldnames or ())
            digest = _SHA256 if _SHA256 in present else _DIGEST
            if missing := {digest, *_COLUMNS} - present:
                raise ValueError(f"{path} has no verdicts: it has no column {min(missing)}")
            return [
                _judgement(
                    {name: row[name] or "" for name in _COLUMNS},
                    row[digest] or "",
                    f"{path}, line {line}",
                )
                for line, row in enumerate(reader, start=2)
            ]
    except (UnicodeDecodeError, csv.Error) as exc:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {exc}") from exc


def _judgement(row: Mapping[str, str], digest: str, where: str) -> Judgement:
    opinion = row["opinion"]
    right = row["right_finding"] if opinion == "disagree" else row["finding"]
    if opinion not in _OPINIONS or right not in _FINDINGS or not row["reader"]:
        raise ValueError(f"{where}: expected a reader, an opinion and findings")
    try:
        at = datetime.fromisoformat(row["time"]).astimezone()
    except (ValueError, OverflowError):
        raise ValueError(f"{where}: {row['time'][:40]!r} is no time") from None
    return Judgement(
        digest=digest,
        sop_instance_uid=row["sop_instance_uid"],
        reader=row["reader"],
        right=None if opinion == "unsure" else right,
        at=at,
    )


def label_of_film(judgements: Iterable[Judgement]) -> float | None:
    """Return the label that more than half of a film's readers give it, None without such."""
    latest: dict[str, Judgement] = {}
    for each in sorted(judgements, key=lambda judgement: judgement.at):
        latest[each.reader] = each
    votes = Counter(LABEL_OF.get(each.right or "") for each in latest.values())
    for label in LABEL_OF.values():
        if 2 * votes[label] > len(latest):
            return label
    return None


def judged_films(judgements: Sequence[Judgement], folder: str | Path) -> JudgedFilms:
    """Return the films of a folder that readers judged, with their labels.

    A film is found by the bytes of its data set, else by its SOP Instance UID where all verdicts on
    that UID are about the same bytes: an archive may change a header, and a corrected instance has
    the UID of another film.

    Args:
        judgements: as `read_verdicts` returns them.
        folder: DICOM files, in folders of any depth.

    Raises:
        ValueError: there is no such folder.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"there is no folder {folder}")
    films: dict[str, list[Judgement]] = defaultdict(list)
    for each in judgements:
        films[each.digest].append(each)
    labels = {film: label_of_film(found) for film, found in films.items()}
    wanted = {film: found for film, found in films.items() if labels[film] is not None}
    paths = _find(wanted, Path(folder))
    rows = [
        _row(path, label, wanted[film])
        for film, path in sorted(paths.items())
        if (label := labels[film]) is not None
    ]
    return JudgedFilms(
        rows=rows, undecided=len(films) - len(wanted), missing=len(wanted) - len(rows)
    )


def _find(films: Mapping[str, Sequence[Judgement]], folder: Path) -> dict[str, Path]:
    """Return the path of each film that is in a folder."""
    by_uid: dict[str, set[str]] = defaultdict(set)
    for film, judgements in films.items():
        by_uid[judgements[0].sop_instance_uid].add(film)
    alone = {uid: min(found) for uid, found in by_uid.items() if len(found) == 1}
    same_bytes: dict[str, Path] = {}
    same_uid: dict[str, Path] = {}
    for path in _files(folder):
        digest = next((each for each in data_set_digests(path) if each in films), None)
        uid = "" if digest else _uid_of(path)
        if digest:
            same_bytes.setdefault(digest, path)
        elif uid in alone:
            same_uid.setdefault(alone[uid], path)
    return {**same_uid, **same_bytes}


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield path


def _row(path: Path, label: float, judgements: Sequence[Judgement]) -> Radiograph:
    readers = len({each.reader for each in judgements})
    finding = "present" if label else "absent"
    return Radiograph(
        image=str(path),
        label=label,
        patient=patient_in_header(path) or judgements[0].sop_instance_uid,
        cohort=COHORT,
        kind="pneumonia" if label else "normal",
        sha256=sha256_of(path),
        source=SOURCE,
        basis=Basis.READING.value,
        findings=f"pneumonia {finding}, most of {readers} readers",
    )


def data_set_digests(path: Path) -> tuple[str, str]:
    """Return what the service names a DICOM file's data set by, now and at first.

    These are 28 bytes of BLAKE3 with the name, and SHA-256 without. Preamble and file meta
    information are left out: whoever stores an instance writes its own. Of a file that is not DICOM
    they are those of all bytes.
    """
    with path.open("rb") as file:
        file.seek(_data_set_offset(file))
        now, at_first = blake3(), hashlib.sha256()
        while piece := file.read(1 << 20):
            now.update(piece)
            at_first.update(piece)
        return f"blake3:{now.hexdigest(length=28)}", at_first.hexdigest()


def _data_set_offset(file: BinaryIO) -> int:
    """Return where the data set begins, after the elements of group 0002 (PS3.10 7.1)."""
    if file.read(_PREAMBLE_BYTES + 4)[_PREAMBLE_BYTES:] != b"DICM":
        return 0
    offset, last = file.tell(), -1
    while len(head := file.read(8)) == 8:  # noqa: PLR2004 -- tag, VR and a short length
        group, number, vr, length = struct.unpack("<HH2sH", head)
        if group != _FILE_META_GROUP or number <= last:
            break
        if vr in _WITH_LONG_LENGTH:
            (length,) = struct.unpack("<L", file.read(4).ljust(4, b"\0"))
        offset, last = file.seek(length, 1), number
    return offset


def _uid_of(path: Path) -> str:
    """Return the SOP Instance UID of a DICOM file, blank of any other."""
    try:
        with suppress_warnings():
            header = pydicom.dcmread(
                path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True
            )
            return str(header.get("SOPInstanceUID") or "")
    except Exception:  # noqa: BLE001 -- pydicom raises anything on other files
        return ""
