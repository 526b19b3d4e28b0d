"""The instances that Lobar holds of a study, each with its file."""

from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from service.dicom.uids import is_uid
from service.domain.job import Job
from service.storage.ledger import Held, Ledger
from service.storage.spool import Spool
from service.web.dicomweb.header import UnreadableHeaderError, summary
from service.web.dicomweb.json_model import Value
from service.web.problem import Problem, not_found

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


class StudyItems:
    """Finds instances of studies in ledger and spool."""

    def __init__(self, ledger: Ledger, spool: Spool) -> None:
        self._ledger = ledger
        self._spool = spool

    def of_study(self, study_instance_uid: str) -> list[Item]:
        """List the instances of a study whose files are there.

        Of several with one SOP Instance UID (corrections) the one received last counts.
        """
        found: dict[str, Item] = {}
        for held in self._ledger.holdings.of_study(study_instance_uid):
            for item in self._items(held):
                found.setdefault(item.sop_instance_uid, item)
        return list(found.values())

    def known(
        self, study: str, series: str | None = None, instance: str | None = None
    ) -> list[Item]:
        """List the instances of a study, a series or one instance; there is at least one.

        Raises:
            Problem: nothing of this is known, or retention removed it.
        """
        if not all(is_uid(each) for each in (study, series, instance) if each is not None):
            raise not_found("study, series or instance")
        items = [
            item
            for item in self.of_study(study)
            if series in {None, item.series_instance_uid}
            and instance in {None, item.sop_instance_uid}
        ]
        if items:
            return items
        if any(held.job.purged_at is not None for held in self._ledger.holdings.of_study(study)):
            sentence = "Files are removed some time after their job finished (spool.keep_days)."
            raise Problem(HTTPStatus.GONE, sentence)
        raise not_found("study, series or instance")

    def _items(self, held: Held) -> Iterator[Item]:
        job = held.job
        if job.purged_at is not None:
            return
        path = self._spool.inbox(job.id)
        if path.is_file():
            yield Item(
                job=job,
                path=path,
                sop_class_uid=job.sop_class_uid,
                sop_instance_uid=job.sop_instance_uid,
                series_instance_uid=job.series_instance_uid,
                attributes={**_plain(path), **_identity(job)},
            )
        for output in held.outputs:
            path = self._spool.outbox(job.id, output.kind, output.sop_instance_uid)
            attributes = _plain(path)
            series = attributes.get(_SERIES, {}).get("Value", [""])[0]
            if series:  # else it is gone or broken
                yield Item(
                    job=job,
                    path=path,
                    sop_class_uid=output.sop_class_uid,
                    sop_instance_uid=output.sop_instance_uid,
                    series_instance_uid=series,
                    attributes=attributes,
                )


def _plain(path: Path) -> dict[str, Value]:
    try:
        return summary(path)
    except _UNREADABLE:
        return {}


def _identity(job: Job) -> dict[str, Value]:
    uids = {
        "00080016": job.sop_class_uid,
        "00080018": job.sop_instance_uid,
        "0020000D": job.study_instance_uid,
        "0020000E": job.series_instance_uid,
    }
    return {tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}
