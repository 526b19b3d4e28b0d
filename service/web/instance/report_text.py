"""Read the text of a job's reports from the outbox."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from service.dicom.output_elements import UnreadableOutputError
from service.dicom.structured_report import ContentItem, StructuredReport, read_structured_report
from service.domain.routing import OutputKind
from service.storage.spool import Spool

GONE = "The bytes of this report are gone, and its text with them: retention removed them."
_FINDINGS_FIRST: Final = ("CODE", "NUM", "TEXT")  # findings, certainties, comments


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportText:
    """What a report says: its findings, certainties and comments, and the whole tree."""

    report: StructuredReport
    said: tuple[ContentItem, ...]


def report_text(spool: Spool, job_id: str, sop_instance_uid: str) -> ReportText | str:
    """Return what a report says, or a sentence why that is not known."""
    try:
        report = read_structured_report(spool.outbox(job_id, OutputKind.SR, sop_instance_uid))
    except FileNotFoundError:
        return GONE
    except (UnreadableOutputError, OSError) as exc:
        return str(exc) if isinstance(exc, UnreadableOutputError) else "The spool cannot be read."

    said = sorted(_said(report.root), key=lambda item: _FINDINGS_FIRST.index(item.value_type))
    return ReportText(report=report, said=tuple(said))


def _said(container: ContentItem) -> Iterator[ContentItem]:
    """Yield what the sections of a report contain, without its context and without images."""
    for item in container.children:
        if item.relationship == "CONTAINS" and item.value_type in _FINDINGS_FIRST:
            yield item
        elif item.is_container:
            yield from _said(item)


def report_texts(
    spool: Spool, job_id: str, sop_instance_uids: Iterable[str]
) -> dict[str, ReportText | str]:
    """Return what each of a job's reports says, by its SOP Instance UID."""
    return {uid: report_text(spool, job_id, uid) for uid in sop_instance_uids}
