"""A study in a `Web`: a radiograph as received, and the outputs that Lobar makes of it."""

import uuid
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from synthetic.objects import encode
from synthetic.part10 import part10
from synthetic.report_sources import NOW, predicted

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, Receipt, Source
from service.domain.routing import OutputKind
from service.receiving.ingest import Ingest
from support.routes import to
from support.web_server import Web
from workers.reporting.outputs import make_outputs

_CONCLUSION: Final = ConclusionRecord(
    finding="present", probability=0.873, operating_point="balanced", model="lobar_pneumonia 1.2.3"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptStudy:
    """A radiograph that a `Web` received, and its outputs as they lie in the outbox."""

    job_id: str
    source: Dataset
    file: bytes
    outputs: dict[OutputKind, Dataset]

    @property
    def path(self) -> str:
        """The address of the study, without the host."""
        return f"/dicom-web/studies/{self.source.StudyInstanceUID}"

    def path_of(self, dataset: Dataset) -> str:
        """The address of an instance of it."""
        return f"{self.path}/series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}"


def receive(web: Web, file: bytes) -> str:
    """Receive an instance over the ingest that listener and uploads share; return its job."""
    arrived = web.spool.incoming / f"{uuid.uuid4().hex}.instance"
    arrived.write_bytes(file)
    receipt = Ingest(web.spool, web.ledger, web.notify).receive(arrived, source=Source.UPLOAD)
    assert isinstance(receipt, Receipt), receipt
    return receipt.job_id


def keep_study(web: Web, source: Dataset, transfer_syntax: str | None = None) -> KeptStudy:
    """Receive a radiograph, and report on it as the infer worker does, with every output."""
    file = part10(source if transfer_syntax is None else encode(source, transfer_syntax))
    job_id = receive(web, file)
    (job,) = web.ledger.jobs.lease("test/", 1, lease_seconds=60, maximum_attempts=3)
    header = dcmread(BytesIO(file), stop_before_pixels=True)
    pixels = (source.pixel_array / (2**source.BitsStored - 1)).astype(np.float32)
    made: dict[OutputKind, Any] = {
        each.kind: each
        for each in make_outputs(header, pixels, predicted(), kinds=set(OutputKind), now=NOW)
    }
    for kind, output in made.items():
        web.spool.put_output(job_id, kind, output.dataset.SOPInstanceUID, output.encode())
    records = [
        OutputRecord(
            kind=kind,
            sop_class_uid=each.dataset.SOPClassUID,
            sop_instance_uid=each.dataset.SOPInstanceUID,
        )
        for kind, each in made.items()
    ]
    web.ledger.jobs.report(job, _CONCLUSION, records, to(["pacs"]))
    datasets = {kind: each.dataset for kind, each in made.items()}
    return KeptStudy(job_id=job_id, source=source, file=file, outputs=datasets)
