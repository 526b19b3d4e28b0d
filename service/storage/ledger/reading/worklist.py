"""The worklist: jobs that people look for, with their patients and verdicts, page by page.

A page ends with a cursor, the place of its last row in the order, so that jobs which arrive between
two pages neither repeat a row nor hide one.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    String,
    and_,
    case,
    exists,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    union,
)

from service.domain.job import Job, JobState
from service.domain.patient import Patient
from service.domain.patient_search import MatchKind, terms_of
from service.domain.verdict import Opinion
from service.storage.ledger.database import Database
from service.storage.ledger.instance.patients import patient_of
from service.storage.ledger.mapping import job_of
from service.storage.ledger.reading.queries import SHORTEST_PREFIX
from service.storage.ledger.tables import (
    DELIVERIES,
    EVENTS,
    JOBS,
    OUTPUTS,
    PATIENT_WORDS,
    PATIENTS,
    REVISIONS,
    TALLIES,
    VERDICTS,
)

ON_A_PAGE: Final = 50
IDENTIFIER: Final = "identifier"  # what a search by UID or job id matched
_RANKED: Final = ("present", "indeterminate")  # findings, the first first
_LAST_RANK: Final = len(_RANKED)
_CURSOR: Final = re.compile(r"(?P<rank>[0-2])_(?P<at>\d{1,12}(\.\d{1,9})?)_(?P<id>[0-9a-f]{32})")
_UID: Final = re.compile(r"[0-9.]{3,64}")
_JOB_ID: Final = re.compile(rf"[0-9a-f]{{{SHORTEST_PREFIX},32}}")
_JOB_ID_LENGTH: Final = 32
_LAST_CHARACTER: Final = "\U0010ffff"
_FEW: Final = 3000  # rows that are sorted within a few milliseconds
_LATE_EVENTS: Final = 500  # PostgreSQL may commit events in another order than it numbered them

_Ids = Select[tuple[str]]


class Order(StrEnum):
    """The order of a worklist."""

    PRIORITY = "priority"  # present, then indeterminate, then all others; the oldest first
    NEWEST = "newest"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistFilter:
    """Which jobs a worklist shows; a field that is blank or None leaves nothing out."""

    text: str = ""  # the beginning of names, patient IDs, accession numbers, job ids; or a UID
    states: frozenset[JobState] = frozenset()
    findings: frozenset[str] = frozenset()
    calling_ae_title: str = ""
    since: float | None = None  # received at or after, seconds since the epoch
    until: float | None = None  # received before
    has_verdict: bool | None = None
    order: Order = Order.PRIORITY
    cursor: str = ""  # of the page before
    with_patients: bool = False  # else nothing of a patient is searched or returned


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistRow:
    """One job of a worklist."""

    job: Job
    patient: Patient | None
    opinion: Opinion | None  # of the latest verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistPage:
    """One page of a worklist."""

    rows: tuple[WorklistRow, ...]
    following: str | None  # the cursor of the next page, if there is one
    matched: tuple[str, ...] = ()  # what the text matched: `MatchKind`s or `IDENTIFIER`


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """The place of a row in the order."""

    rank: int
    at: float
    job_id: str


class InvalidCursorError(ValueError):
    """A cursor that no page ended with."""


class Worklist:
    """Reads the worklist; each page is one consistent snapshot.

    Args:
        database: the ledger's database.
        few: rows that are found first and then sorted; more are walked through in order.
    """

    def __init__(self, database: Database, *, few: int = _FEW) -> None:
        self._database = database
        self._few = few

    def page(self, wanted: WorklistFilter, limit: int = ON_A_PAGE) -> WorklistPage:
        """Return the page after the filter's cursor.

        Raises:
            InvalidCursorError: The cursor is not one.
        """
        after = _parse(wanted.cursor) if wanted.cursor else None
        with self._database.read() as connection:
            if connection.dialect.name == "postgresql":
                # else it reads all jobs where a thousand look-ups in an index are asked for
                connection.execute(text("SET LOCAL random_page_cost = 1.1"))
            jobs = _jobs(connection, wanted, after, limit + 1, few=self._few)
            shown = jobs[:limit]
            rows = tuple(_rows(connection, shown, with_patients=wanted.with_patients))
            matched = _matched(connection, wanted, shown)
        following = _cursor(shown[-1], wanted.order) if len(jobs) > limit else None
        return WorklistPage(rows=rows, following=following, matched=matched)

    def calling_ae_titles(self, limit: int = 50) -> list[str]:
        """List up to `limit` calling AE titles in the ledger, in order."""
        titles: list[str] = []
        with self._database.read() as connection:
            while len(titles) < limit:
                # one look into the index each, instead of a walk through all rows
                later = select(func.min(JOBS.c.calling_ae_title)).where(
                    JOBS.c.calling_ae_title > (titles[-1] if titles else "")
                )
                title = connection.execute(later).scalar()
                if title is None:
                    break
                titles.append(title)
        return titles

    def revision(self) -> str:
        """Return a text that is another one after every change of a job, or of a verdict."""
        with self._database.read() as connection:
            latest = connection.execute(select(func.max(EVENTS.c.id))).scalar() or 0
            events = connection.execute(
                select(func.count()).where(EVENTS.c.id > latest - _LATE_EVENTS)
            ).scalar()
            verdicts = connection.execute(select(func.max(VERDICTS.c.id))).scalar()
            forgotten = connection.execute(
                select(TALLIES.c.total).where(TALLIES.c.name == "forgotten")
            ).scalar()
        return f"{latest}-{events}-{verdicts or 0}-{forgotten or 0}"


def _jobs(
    connection: Connection,
    wanted: WorklistFilter,
    after: _Place | None,
    limit: int,
    *,
    few: int,
) -> list[Job]:
    jobs: list[Job] = []
    for query in _queries(connection, wanted, after, few=few):
        rows = connection.execute(query.limit(limit - len(jobs)))
        jobs += [job_of(row) for row in rows]
        if len(jobs) >= limit:
            break
    return jobs


def _queries(
    connection: Connection, wanted: WorklistFilter, after: _Place | None, *, few: int
) -> Iterator[Select[Any]]:
    """Yield the queries whose rows, one after the other, are the rows after a place.

    Where a condition leaves few rows, these are found by its index and sorted. Else the rows come
    in order from an index, for each rank apart, until there are enough that meet the conditions.
    """
    narrow = _narrow(connection, wanted, few=few)
    query = select(JOBS).where(*_conditions(wanted))
    if narrow is not None:
        found = query.where(JOBS.c.id.in_(narrow), *_after(after, wanted.order))
        yield _sorted(found, wanted.order, sqlite=connection.dialect.name == "sqlite")
        return
    key = tuple_(JOBS.c.received_at, JOBS.c.id)
    place = None if after is None else tuple_(literal(after.at), literal(after.job_id))
    if wanted.order is Order.NEWEST:
        later = query if place is None else query.where(key < place)
        yield later.order_by(JOBS.c.received_at.desc(), JOBS.c.id.desc())
        return
    one_state = len(wanted.states) == 1 or bool(wanted.calling_ae_title)
    walks_other_index = connection.dialect.name == "sqlite" and one_state
    first = 0 if after is None else after.rank
    for rank in range(first, _LAST_RANK + 1):
        if _may_have(wanted.findings, rank):
            ranked = query.where(_has_rank(rank, is_indexed=not walks_other_index))
            if place is not None and rank == first:
                ranked = ranked.where(key > place)
            yield ranked.order_by(JOBS.c.received_at, JOBS.c.id)


def _narrow(connection: Connection, wanted: WorklistFilter, *, few: int) -> _Ids | None:
    """Return a condition that leaves few jobs; None if there is no such condition."""
    selects: list[_Ids] = []
    if wanted.text:
        selects += _found(wanted.text, with_patients=wanted.with_patients)
    if wanted.states:
        selects.append(select(JOBS.c.id).where(_among(JOBS.c.state, wanted.states)))
    if wanted.calling_ae_title:
        of_sender = JOBS.c.calling_ae_title == wanted.calling_ae_title
        selects.append(select(JOBS.c.id).where(of_sender))
    if wanted.has_verdict:
        selects.append(select(VERDICTS.c.job_id))
    for each in selects:
        some = each.limit(few + 1).subquery()
        if (connection.execute(select(func.count()).select_from(some)).scalar() or 0) <= few:
            return each
    return None


def _conditions(wanted: WorklistFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.text:
        conditions += _text_conditions(wanted.text, with_patients=wanted.with_patients)
    if wanted.states:
        conditions.append(_among(JOBS.c.state, wanted.states))
    if wanted.findings:
        conditions.append(_among(JOBS.c.finding, wanted.findings))
    if wanted.calling_ae_title:
        conditions.append(JOBS.c.calling_ae_title == wanted.calling_ae_title)
    if wanted.since is not None:
        conditions.append(JOBS.c.received_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(JOBS.c.received_at < wanted.until)
    if wanted.has_verdict is not None:
        judged = exists(select(1).where(VERDICTS.c.job_id == JOBS.c.id))
        conditions.append(judged if wanted.has_verdict else ~judged)
    return conditions


def _text_conditions(text: str, *, with_patients: bool) -> list[ColumnElement[bool]]:
    """Build the condition that a job is named by the text, or that all its terms match."""
    alternatives: list[ColumnElement[bool]] = [JOBS.c.id.in_(each) for each in _by_identifier(text)]
    terms = terms_of(text) if with_patients else []
    if terms:
        of_job = PATIENT_WORDS.c.job_id == JOBS.c.id
        alternatives.append(
            and_(*(exists(select(1).where(of_job, _begins(term))) for term in terms))
        )
    return [or_(*alternatives) if alternatives else false()]


def _among(column: ColumnElement[Any], values: Collection[str]) -> ColumnElement[bool]:
    """Build a condition; an equality where it can be one, whose rows an index has in order."""
    known = sorted(values)
    return column == known[0] if len(known) == 1 else column.in_(known)


def _found(text: str, *, with_patients: bool) -> Iterator[_Ids]:
    """Yield selects of which each has all jobs that a text finds, and some have others too."""
    named = _by_identifier(text)
    terms = terms_of(text) if with_patients else []
    if not terms:
        yield select(union(*named).subquery().c[0]) if named else select(JOBS.c.id).where(false())
    for term in terms:
        words = select(PATIENT_WORDS.c.job_id).where(_begins(term))
        yield select(union(*named, words).subquery().c[0])


def _by_identifier(text: str) -> list[_Ids]:
    """Select the jobs that a UID or the beginning of a job id names."""
    parts: list[_Ids] = []
    if _JOB_ID.fullmatch(text):
        lowest, highest = text.ljust(_JOB_ID_LENGTH, "0"), text.ljust(_JOB_ID_LENGTH, "f")
        parts.append(select(JOBS.c.id).where(JOBS.c.id.between(lowest, highest)))
    if _UID.fullmatch(text):
        parts += [
            select(JOBS.c.id).where(column == text)
            for column in (
                *(JOBS.c.sop_instance_uid, JOBS.c.series_instance_uid),
                JOBS.c.study_instance_uid,
            )
        ]
        parts += [
            select(table.c.job_id).where(table.c[column] == text)
            for table, column in (
                (OUTPUTS, "sop_instance_uid"),
                (REVISIONS, "sop_instance_uid"),
                (DELIVERIES, "sent_sop_instance_uid"),
            )
        ]
    return parts


def _begins(term: frozenset[str]) -> ColumnElement[bool]:
    """Build the condition that a word begins with one of a term's spellings."""
    column = PATIENT_WORDS.c.word
    return or_(*(and_(column >= each, column <= each + _LAST_CHARACTER) for each in sorted(term)))


def _rank() -> ColumnElement[int]:
    ranks = {finding: rank for rank, finding in enumerate(_RANKED)}
    return case(ranks, value=JOBS.c.finding, else_=_LAST_RANK)


def _has_rank(rank: int, *, is_indexed: bool) -> ColumnElement[bool]:
    """Build the condition of a rank.

    Args:
        rank: the rank.
        is_indexed: whether the index of findings may be used. SQLite would prefer it to those of
            states and AE titles, which mostly have fewer rows to walk through.
    """
    finding: ColumnElement[str] = JOBS.c.finding
    if not is_indexed:
        finding = literal_column("+jobs.finding", String)
    if rank < _LAST_RANK:
        return finding == _RANKED[rank]
    return or_(finding.is_(None), finding.not_in(_RANKED))


def _may_have(findings: Collection[str], rank: int) -> bool:
    if not findings:
        return True
    return _RANKED[rank] in findings if rank < _LAST_RANK else not set(findings) <= set(_RANKED)


def _sorted(query: Select[Any], order: Order, *, sqlite: bool) -> Select[Any]:
    """Sort found rows; SQLite would rather walk through all rows in the order of an index."""
    at: Any = literal_column("+jobs.received_at") if sqlite else JOBS.c.received_at
    if order is Order.NEWEST:
        return query.order_by(at.desc(), JOBS.c.id.desc())
    return query.order_by(_rank(), at, JOBS.c.id)


def _after(place: _Place | None, order: Order) -> list[ColumnElement[bool]]:
    if place is None:
        return []
    if order is Order.NEWEST:
        key = tuple_(JOBS.c.received_at, JOBS.c.id)
        return [key < tuple_(literal(place.at), literal(place.job_id))]
    key = tuple_(_rank(), JOBS.c.received_at, JOBS.c.id)
    return [key > tuple_(literal(place.rank), literal(place.at), literal(place.job_id))]


def _rows(
    connection: Connection, jobs: Sequence[Job], *, with_patients: bool
) -> Iterator[WorklistRow]:
    ids = [job.id for job in jobs]
    patients: dict[str, Patient] = {}
    if with_patients:
        found = connection.execute(select(PATIENTS).where(PATIENTS.c.job_id.in_(ids)))
        patients = {row.job_id: patient_of(row) for row in found}
    judged = select(VERDICTS.c.job_id, VERDICTS.c.opinion).where(VERDICTS.c.job_id.in_(ids))
    opinions = {  # the latest of each, which comes last
        row.job_id: Opinion(row.opinion)
        for row in connection.execute(judged.order_by(VERDICTS.c.id))
    }
    for job in jobs:
        yield WorklistRow(job=job, patient=patients.get(job.id), opinion=opinions.get(job.id))


def _matched(
    connection: Connection, wanted: WorklistFilter, jobs: Sequence[Job]
) -> tuple[str, ...]:
    """Return what the text matched in these jobs."""
    if not wanted.text or not jobs:
        return ()
    ids = [job.id for job in jobs]
    kinds: set[str] = set()
    if wanted.with_patients:
        spellings: frozenset[str] = frozenset().union(*terms_of(wanted.text))
        if spellings:
            query = select(PATIENT_WORDS.c.kind).distinct()
            query = query.where(PATIENT_WORDS.c.job_id.in_(ids), _begins(spellings))
            kinds = {MatchKind(kind) for kind in connection.execute(query).scalars()}
    named = _by_identifier(wanted.text)
    if named:
        found = set(connection.execute(union(*named)).scalars())
        if not found.isdisjoint(ids):
            kinds.add(IDENTIFIER)
    return tuple(sorted(kinds))


def _cursor(job: Job, order: Order) -> str:
    rank = 0
    if order is Order.PRIORITY:
        rank = _RANKED.index(job.finding) if job.finding in _RANKED else _LAST_RANK
    return f"{rank}_{job.received_at!r}_{job.id}"


def _parse(cursor: str) -> _Place:
    parts = _CURSOR.fullmatch(cursor)
    if parts is None:
        raise InvalidCursorError("This is not a cursor.")
    return _Place(rank=int(parts["rank"]), at=float(parts["at"]), job_id=parts["id"])
