"""Say of each revision of a report which it replaces, and what changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.job import Event, Revision
from service.domain.reasons import EXPLANATIONS, Reason

_CODES: Final = frozenset(Reason)
_COMPARED: Final = {
    "finding": "finding",
    "probability": "probability",
    "other_finding": "other abnormality",
    "refusal": "reason for not analysing",
    "operating_point": "operating point",
    "model": "model",
    "population": "population",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRow:
    """One revision as the page lists it."""

    number: int
    revision: Revision
    replaces: int | None  # the number of the revision that it replaces
    said: str  # the finding and the probability; blank where they were not recorded
    changes: tuple[str, ...]  # against the one that it replaces
    is_known: bool  # whether the ledger has what it said


def revision_rows(revisions: Sequence[Revision], reports: Mapping[str, Event]) -> list[RevisionRow]:
    """List the revisions with what changed from one to the next, the oldest first.

    Args:
        revisions: of one instance, as `Queries.revisions` lists them.
        reports: the event of each report by its SOP Instance UID; those of earlier versions of
            Lobar lack it.
    """
    numbers = {each.id: number for number, each in enumerate(revisions, start=1)}
    by_id = {each.id: each for each in revisions}
    rows = []
    for number, revision in enumerate(revisions, start=1):
        event = reports.get(revision.sop_instance_uid)
        before = by_id.get(revision.predecessor)
        earlier = reports.get(before.sop_instance_uid) if before else None
        rows.append(
            RevisionRow(
                number=number,
                revision=revision,
                replaces=numbers.get(revision.predecessor),
                said=_said(event),
                changes=tuple(_changes(earlier, event)) if earlier and event else (),
                is_known=event is not None,
            )
        )
    return rows


def _said(event: Event | None) -> str:
    if event is None:
        return ""
    finding, probability = event.detail.get("finding"), event.detail.get("probability")
    if finding is None:
        return f"not analysed: {_value(event.detail.get('refusal'))}"
    return f"{finding}, {_value(probability)}"


def _changes(earlier: Event, later: Event) -> Iterator[str]:
    for key, name in _COMPARED.items():
        before, after = (_value(each.detail.get(key)) for each in (earlier, later))
        if before != after:
            yield f"{name}: {before} → {after}"


def _value(value: object) -> str:
    if value is None:
        return "none"
    if value in _CODES:
        return f"{EXPLANATIONS[Reason(str(value))].rstrip('.')} ({value})"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
