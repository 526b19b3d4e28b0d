"""Read the text of a job's reports from the outbox."""

from collections.abc import Iterable

from service.dicom.output_elements import UnreadableOutputError
from service.dicom.structured_report import StructuredReport, read_structured_report
from service.domain.routing import OutputKind
from service.storage.spool import Spool

GONE = "The bytes of this report are gone, and its text with them: retention removed them."


def report_text(spool: Spool, job_id: str, sop_instance_uid: str) -> StructuredReport | str:
    """Return what a report says, or a sentence why that is not known."""
    try:
        return read_structured_report(spool.outbox(job_id, OutputKind.SR, sop_instance_uid))
    except FileNotFoundError:
        return GONE
    except (UnreadableOutputError, OSError) as exc:
        return str(exc) if isinstance(exc, UnreadableOutputError) else "The spool cannot be read."


def report_texts(
    spool: Spool, job_id: str, sop_instance_uids: Iterable[str]
) -> dict[str, StructuredReport | str]:
    """Return what each of a job's reports says, by its SOP Instance UID."""
    return {uid: report_text(spool, job_id, uid) for uid in sop_instance_uids}
