"""The instances that Lobar holds of a study, each with its file."""

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

from fastapi import Request

from service.dicom.uids import is_uid
from service.domain.job import Job
from service.storage.ledger import Held, Ledger
from service.storage.spool import Spool
from service.web.dicomweb.header import UnreadableHeaderError
from service.web.dicomweb.json_model import Value
from service.web.dicomweb.summaries import Summaries
from service.web.problem import Problem, not_found

MOST_RECEIVED: Final = (
    100  # instances of a study that are looked at; a study of the chest has a few
)
_UNREADABLE = (UnreadableHeaderError, OSError)
_SERIES = "0020000E"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An instance of a study: one that was received, or an output."""

    job: Job
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    attributes: dict[str, Value]  # plain ones of the header; of a broken one, what the ledger has

    @property
    def is_received(self) -> bool:
        """Whether this is the instance that the job is about, and not an output."""
        return self.sop_instance_uid == self.job.sop_instance_uid


@dataclass(frozen=True, slots=True)
class Contents:
    """Instances of a study, a series or one instance."""

    items: list[Item]
    is_complete: bool  # not where the study has more than `MOST_RECEIVED`


class StudyItems:
    """Finds instances of studies in ledger and spool."""

    def __init__(self, ledger: Ledger, spool: Spool, summaries: Summaries) -> None:
        self._ledger = ledger
        self._spool = spool
        self._summaries = summaries

    def of_study(
        self, study: str, series: str | None = None, instance: str | None = None
    ) -> Contents:
        """List the instances of a study, a series or one instance whose files are there.

        Of several with one SOP Instance UID (corrections) the one received last counts.
        """
        holdings = self._ledger.holdings
        held = holdings.of_study(study, series, instance, limit=MOST_RECEIVED + 1)
        found: dict[str, Item] = {}
        for each in held[:MOST_RECEIVED]:
            for item in self._items(each, series, instance):
                found.setdefault(item.sop_instance_uid, item)
        return Contents(list(found.values()), is_complete=len(held) <= MOST_RECEIVED)

    def known(self, study: str, series: str | None = None, instance: str | None = None) -> Contents:
        """List the instances of a study, a series or one instance; there is at least one.

        Raises:
            Problem: nothing of this is known, or retention removed it.
        """
        if not all(is_uid(each) for each in (study, series, instance) if each is not None):
            raise not_found("study, series or instance")
        contents = self.of_study(study, series, instance)
        if contents.items:
            return contents
        if self._ledger.holdings.was_purged(study, series, instance):
            sentence = "Files are removed some time after their job finished (spool.keep_days)."
            raise Problem(HTTPStatus.GONE, sentence)
        raise not_found("study, series or instance")

    def whole(
        self, study: str, series: str | None = None, instance: str | None = None
    ) -> list[Item]:
        """List all instances of a study, a series or one instance; there is at least one.

        Raises:
            Problem: nothing of this is known, retention removed it, or there are too many.
        """
        contents = self.known(study, series, instance)
        if contents.is_complete:
            return contents.items
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"More than {MOST_RECEIVED} instances of this study were received: "
            "retrieve each instance by its own address.",
        )

    def _items(self, held: Held, series: str | None, instance: str | None) -> Iterator[Item]:
        """Yield what is wanted of a job, and read as few headers for it as possible."""
        job = held.job
        path = self._spool.inbox(job.id)
        is_wanted = series in {None, job.series_instance_uid}
        is_wanted = is_wanted and instance in {None, job.sop_instance_uid}
        if is_wanted and path.is_file():
            yield Item(
                job=job,
                path=path,
                sop_class_uid=job.sop_class_uid,
                sop_instance_uid=job.sop_instance_uid,
                series_instance_uid=job.series_instance_uid,
                attributes={**self._summary(path), **_identity(job)},
            )
        for output in held.outputs:
            path = self._spool.outbox(job.id, output.kind, output.sop_instance_uid)
            attributes = self._summary(path)
            its_series = attributes.get(_SERIES, {}).get("Value", [""])[0]
            # without one it is gone or broken
            if its_series and series in {None, its_series}:
                yield Item(
                    job=job,
                    path=path,
                    sop_class_uid=output.sop_class_uid,
                    sop_instance_uid=output.sop_instance_uid,
                    series_instance_uid=its_series,
                    attributes=attributes,
                )

    def _summary(self, path: Path) -> dict[str, Value]:
        try:
            return self._summaries.of(path)
        except _UNREADABLE:
            return {}


def address(request: Request, item: Item) -> str:
    """Return the address of an instance."""
    study = item.job.study_instance_uid
    return (
        f"{request.base_url}dicom-web/studies/{study}/series/{item.series_instance_uid}"
        f"/instances/{item.sop_instance_uid}"
    )


def _identity(job: Job) -> dict[str, Value]:
    uids = {
        "00080016": job.sop_class_uid,
        "00080018": job.sop_instance_uid,
        "0020000D": job.study_instance_uid,
        "0020000E": job.series_instance_uid,
    }
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}
