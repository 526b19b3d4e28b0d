"""Put all sets together: one part for each patient, one entry for each film.

The sets of folders keep the parts that the shipped weights were trained and measured on. Of the
others, in this order:

- "rsna-test": a quarter of RSNA's patients, chosen by a hash of their number. It is predicted once
  for each release; neither trained on nor chosen on.
- "measuring": sets that are never trained on.
- "excluded": what teaches nothing (category left-out), a patient of rsna-test in another source,
  and a second encoding of a film.
- "validation" and "fold-0" to "fold-4": the rest, by patient; a patient who has a part in a set of
  folders has the same one here.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from scripts.data.adult_sets import UNKNOWN, read_covid, read_findings, read_lateral
from scripts.data.categories import (
    CHILD_NORMAL,
    CHILD_PNEUMONIA,
    SELECTED_NIH,
    Basis,
    Category,
)
from scripts.data.datasets import Radiograph
from scripts.data.near_duplicates import same_films, signature

RSNA: Final = "rsna2018"
RSNA_TEST: Final = "rsna-test"
MEASURING: Final = "measuring"
EXCLUDED: Final = "excluded"
READERS: Final = {
    "adult_findings": read_findings,
    "adult_covid": read_covid,
    "lateral": read_lateral,
}
NEVER_TRAINED: Final = frozenset({"adult_covid", "lateral"})
CHILDREN_AGED: Final = "1-5"
FIRST_ADULTS: Final = SELECTED_NIH.source
_TEST_OF: Final = 4  # one patient in so many
_BEST_FIRST: Final = (Basis.READING, Basis.DIAGNOSIS, Basis.REPORT, Basis.NONE)


def is_rsna_test_patient(patient: str) -> bool:
    """Return whether a patient of RSNA, by NIH's number, is in the fixed test split."""
    digest = hashlib.sha256(f"{RSNA_TEST} {patient}".encode()).hexdigest()
    return int(digest[:8], 16) % _TEST_OF == 0


def read_indexed_sets(data_dir: Path) -> list[Radiograph]:
    """Return the radiographs of the sets with an index below `data_dir`; missing ones are none."""
    return [
        row
        for name, read in READERS.items()
        if (data_dir / name).is_dir()
        for row in read(data_dir / name)
    ]


def read_by_members(rows: Iterable[Radiograph]) -> frozenset[str]:
    """Return the adults whom the members were trained on, by NIH's numbers.

    Films of them in other sources teach the heads, but say nothing of what is new to the network:
    no table of predictions has them.
    """
    return frozenset(row["patient"] for row in rows if row["source"] == FIRST_ADULTS)


def described(row: Radiograph) -> Radiograph:
    """Return a radiograph of a set of folders with what the sets with an index have."""
    is_child = row["cohort"] == "pediatric"
    child = CHILD_PNEUMONIA if row["label"] else CHILD_NORMAL
    rule = child if is_child else SELECTED_NIH
    return Radiograph(
        **{
            **row,
            "source": rule.source,
            "category": rule.category.value,
            "basis": rule.basis.value,
            "findings": row.get("kind", ""),
            "film": "" if is_child else Path(row["image"]).stem,
            "view": "AP" if is_child else "",
            "sex": "",
            "age": "",
            "age_group": CHILDREN_AGED if is_child else UNKNOWN,
        }
    )


def join_sets(
    of_folders: Iterable[Radiograph],
    indexed: Sequence[Radiograph],
    assign: Callable[[list[Radiograph]], list[Radiograph]],
) -> list[Radiograph]:
    """Return all radiographs with their parts, those of the folders first and with theirs.

    Args:
        of_folders: the radiographs of the sets of folders, with their parts.
        indexed: those of the sets with an index.
        assign: adds "validation" or a fold to radiographs, by patient.
    """
    folders = [described(row) for row in of_folders]
    adults = [row for row in folders if row["source"] == SELECTED_NIH.source]
    others = [row for row in folders if row["source"] != SELECTED_NIH.source]
    together = [*adults, *indexed]
    films = group_films(together)
    named = one_number_each(together, films)
    parts = _assigned(named, set(copies_of(named, films)), assign)
    return others + [
        Radiograph(**{**row, "part": part}) for row, part in zip(named, parts, strict=True)
    ]


def _assigned(
    rows: Sequence[Radiograph],
    copies: set[int],
    assign: Callable[[list[Radiograph]], list[Radiograph]],
) -> list[str]:
    """Return the part of each row."""
    test_patients = {
        row["patient"]
        for row in rows
        if row["source"] == RSNA and is_rsna_test_patient(row["patient"])
    }
    known = {row["patient"]: row["part"] for row in rows if row.get("part")}
    parts = [
        fixed_part(row, test_patients) or (EXCLUDED if place in copies else None)
        for place, row in enumerate(rows)
    ]
    free = [row for row, part in zip(rows, parts, strict=True) if part is None]
    new = assign([row for row in free if row["patient"] not in known])
    known |= {row["patient"]: row["part"] for row in new}
    return [part or known[row["patient"]] for row, part in zip(rows, parts, strict=True)]


def fixed_part(row: Radiograph, test_patients: set[str]) -> str | None:
    """Return the part that a radiograph must have, or None if it is to be assigned."""
    if row["source"] in NEVER_TRAINED:
        return MEASURING
    if row["patient"] in test_patients:
        return RSNA_TEST if row["source"] == RSNA else EXCLUDED
    return EXCLUDED if row["category"] == Category.LEFT_OUT else None


def copies_of(rows: Sequence[Radiograph], films: Iterable[Sequence[int]]) -> list[int]:
    """Return the places of the entries to drop: another entry is the same film, better known.

    Where the best known of a film contradict each other, all of them go.
    """
    dropped: list[int] = []
    for places in films:
        ranked = sorted(places, key=lambda place: (_rank(rows[place]), place))
        best = [place for place in ranked if _rank(rows[place]) == _rank(rows[ranked[0]])]
        agree = len({rows[place]["category"] for place in best}) == 1
        dropped += ranked[1:] if agree else ranked
    return dropped


def _rank(row: Radiograph) -> int:
    left_out = row["category"] == Category.LEFT_OUT
    return _BEST_FIRST.index(Basis(row["basis"])) + left_out * len(_BEST_FIRST)


def group_films(rows: Sequence[Radiograph]) -> list[list[int]]:
    """Return the places of the entries of each film: same bytes, same NIH number, or same look."""
    groups = _Groups(len(rows))
    for values in ([row["sha256"] for row in rows], [row["film"] for row in rows]):
        groups.join_equal(values)
    for one, other in same_films([signature(row["image"]) for row in rows]):
        groups.join(one, other)
    return groups.listed()


def one_number_each(rows: Sequence[Radiograph], films: Iterable[Sequence[int]]) -> list[Radiograph]:
    """Give all patients who share a film the first of their numbers."""
    groups = _Groups(len(rows))
    groups.join_equal([row["patient"] for row in rows])
    for first, *rest in films:
        for place in rest:
            groups.join(first, place)
    numbers = [""] * len(rows)
    for places in groups.listed():
        first_number = min(rows[place]["patient"] for place in places)
        for place in places:
            numbers[place] = first_number
    return [
        Radiograph(**{**row, "patient": number}) for row, number in zip(rows, numbers, strict=True)
    ]


class _Groups:
    """Disjoint groups of places, joined two by two."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def _root(self, place: int) -> int:
        while self._parent[place] != place:
            place = self._parent[place]
        return place

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self._root(one), self._root(other)))
        self._parent[high] = low

    def join_equal(self, values: Iterable[str]) -> None:
        """Join all places that have the same value, unless it is empty."""
        first: dict[str, int] = {}
        for place, value in enumerate(values):
            if value:
                self.join(first.setdefault(value, place), place)

    def listed(self) -> list[list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for place in range(len(self._parent)):
            found[self._root(place)].append(place)
        return list(found.values())
