"""A deliver worker without Celery, with one receiver of messages and reports to tell it of."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from synthetic.objects import make_cr

from service.domain.delivery import Delivery
from service.settings import MessageDestination
from support.inference_worker import StandInPredictor, Workspace
from workers.delivery.context import DeliveryContext
from workers.delivery.worker import DeliveryWorker
from workers.inference.loading import read
from workers.prediction import Prediction
from workers.reporting.outputs import store_outputs

if TYPE_CHECKING:
    from workers.inference.predictor import Predictor

PATIENT = {
    "PatientName": "Müller^Jörg|Karl^A&B",
    "PatientID": "PID~0007",
    "PatientBirthDate": "19700102",
    "PatientSex": "M",
    "AccessionNumber": "A^4711",
    "ReferringPhysicianName": "Referrer^Rita",
}
"""An invented patient, whose name and numbers hold the delimiters of HL7."""
SECRETS = ("Müller", "0007", "19700102", "4711", "Referrer")  # parts of what is said of the patient


def secrets_in(text: str) -> list[str]:
    """Return what a text says of the patient; a UID or a job's id may have the same digits."""
    rest = re.sub(r"[0-9a-f.]{20,}", "", text)
    return [each for each in SECRETS if each in rest]


class MessageSetup:
    """A workspace with one receiver of messages, and jobs whose reports are pending to it."""

    def __init__(self, folder: Path, destination: MessageDestination, **deliver: object) -> None:
        self.destination = destination
        self.workspace = Workspace(folder, destinations=(destination,), deliver=deliver)
        self.ledger, self.clock = self.workspace.ledger, self.workspace.clock
        self.worker = DeliveryWorker(
            DeliveryContext(
                settings=self.workspace.settings,
                ledger=self.ledger,
                spool=self.workspace.spool,
                holder="test/deliver/1/",
            )
        )

    def report(self, **header: Any) -> str:  # noqa: ANN401 -- values of a data set
        """Receive an instance with these header values, predict and report it; return the job."""
        instance = make_cr(rows=100, columns=100)
        for keyword, value in (PATIENT | header).items():
            setattr(instance, keyword, value)
        job_id = self.workspace.receive(instance)
        (job,) = self.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
        predictor = cast("Predictor", StandInPredictor())
        reading = read(predictor, self.workspace.spool.inbox(job_id))
        (conclusion,) = predictor.predict([reading.prepared.tensor])
        assert isinstance(conclusion, Prediction)
        store_outputs(
            self.workspace.settings,
            self.ledger,
            self.workspace.spool,
            job,
            reading.header,
            reading.shown,
            conclusion,
        )
        return job_id

    def deliver(self) -> None:
        """Do what one wake-up starts."""
        self.worker.deliver_due(self.destination)

    def requeue(self, job_id: str) -> None:
        """Continue a parked job, as a person does."""
        self.ledger.jobs.requeue(job_id, self.workspace.settings.routes)

    def of(self, job_id: str) -> Delivery:
        """The one delivery of a job."""
        (delivery,) = self.ledger.queries.deliveries(job_id)
        return delivery

    def report_uid(self, job_id: str) -> str:
        """The SOP Instance UID of the report of a job."""
        (output,) = self.ledger.queries.outputs(job_id)
        return output.sop_instance_uid

    def is_paused(self) -> bool:
        """Whether the breaker of the receiver is open."""
        return self.ledger.breakers.get(self.destination.name) is not None
