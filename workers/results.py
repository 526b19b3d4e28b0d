"""What is kept of a prediction: the objects in the outbox, and the facts in the ledger."""

from collections.abc import Iterator
from datetime import UTC, datetime

from pydicom.dataset import Dataset

from service.job import Job, OutputRecord, Verdict
from service.ledger import Ledger
from service.settings import Settings
from service.spool import Spool
from workers.output import Output
from workers.overlay import build_overlay
from workers.prediction import Prediction
from workers.reading import Reading
from workers.report import build_report


def make_outputs(
    reading: Reading, prediction: Prediction, *, now: datetime, digest: str | None = None
) -> Iterator[Output]:
    """Make the objects that say what the model computed.

    Raises:
        ReportError: no valid object can be made for this source.
    """
    source: Dataset = reading.header
    yield build_report(source, prediction, now=now, digest=digest)
    yield build_overlay(source, reading.prepared.picture, prediction, now=now, digest=digest)


def keep_results(
    settings: Settings,
    ledger: Ledger,
    spool: Spool,
    job: Job,
    reading: Reading,
    prediction: Prediction,
) -> None:
    """Make the outputs durable, then let the ledger owe them to every destination.

    The objects are dated by the job's receipt, so that a second run makes the same bytes; those of
    a corrected instance carry its digest in their UIDs, so that they stand beside the first's.

    Raises:
        ReportError: no valid object can be made for this source.
        StaleLeaseError: somebody else leased the job meanwhile.
        OSError: the outbox cannot be written.
    """
    now = datetime.fromtimestamp(job.received_at, tz=UTC)
    digest = job.sha256 if job.corrects else None
    records = []
    for output in make_outputs(reading, prediction, now=now, digest=digest):
        spool.put_output(job.id, output.kind, output.encode())
        records.append(
            OutputRecord(
                kind=output.kind,
                sop_class_uid=output.sop_class_uid,
                sop_instance_uid=output.sop_instance_uid,
            )
        )
    model = prediction.model
    verdict = Verdict(
        finding=prediction.finding,
        probability=prediction.probability,
        operating_point=model.operating_point.name,
        model=f"{model.name} {model.version}",
    )
    names = [destination.name for destination in settings.destinations]
    ledger.jobs.report(job, verdict, records, names)
