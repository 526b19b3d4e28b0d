"""Jobs of a web server with outputs as the workers make them, in its ledger and its outbox."""

import uuid
from collections.abc import Collection
from typing import Any, Final

import numpy as np
from synthetic.report_sources import NOW, radiograph

from service.domain.delivery import OutputRecord
from service.domain.job import Instance, Revision
from service.domain.patient import Patient
from service.domain.routing import OutputKind
from support.routes import to
from support.web_server import Web
from workers.prediction import Conclusion
from workers.reporting.outputs import _conclusion_record, make_outputs
from workers.reporting.uids import FIRST, OutputIdentity

PIXELS: Final = np.zeros((25, 20), dtype=np.float32)


def receive(web: Web, patient: Patient | None = None, **changes: str) -> str:
    """Record a job as the listener would, with the patient of its header."""
    uid = f"2.25.{uuid.uuid4().int}"
    values: dict[str, Any] = {
        "job_id": uuid.uuid4().hex,
        "sop_instance_uid": uid,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1",
        "series_instance_uid": uid,
        "study_instance_uid": uid,
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "digest": "0" * 64,
        "calling_ae_title": "MODALITY",
        **changes,
    }
    return web.ledger.jobs.receive(Instance(size_bytes=10, **values), patient).job_id


def report(
    web: Web,
    job_id: str,
    conclusion: Conclusion,
    *,
    kinds: Collection[OutputKind] = (OutputKind.SR,),
    identity: OutputIdentity = FIRST,
    predecessor: int | None = None,
) -> str:
    """Report a due job with outputs in the outbox; return the report's SOP Instance UID."""
    (job,) = web.ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    assert job.id == job_id
    records, revision = [], None
    for output in make_outputs(
        radiograph(), PIXELS, conclusion, kinds=kinds, now=NOW, identity=identity
    ):
        web.spool.put_output(job_id, output.kind, output.sop_instance_uid, output.encode())
        records.append(
            OutputRecord(
                kind=output.kind,
                sop_class_uid=output.sop_class_uid,
                sop_instance_uid=output.sop_instance_uid,
            )
        )
        if output.kind is OutputKind.SR:
            revision = Revision(
                job_id=job_id,
                sop_class_uid=output.sop_class_uid,
                sop_instance_uid=output.sop_instance_uid,
                series_instance_uid=str(output.dataset.SeriesInstanceUID),
                predecessor=predecessor,
                dated_at=NOW.timestamp(),
            )
    assert revision is not None
    web.ledger.jobs.report(
        job, _conclusion_record(conclusion), records, to(["pacs"]), revision=revision
    )
    return revision.sop_instance_uid


def deliver(web: Web) -> None:
    """Let the destination take every output that is due."""
    for each in web.ledger.deliveries.lease("pacs", "test/", 99, lease_seconds=60):
        web.ledger.deliveries.delivered(each, status=0)
