"""A deliver worker without Celery, with one destination and jobs to be delivered to it."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from peers.dcmtk import StoreSCP
from peers.scripted_pacs import ScriptedPacs
from synthetic.objects import make_cr

from service.domain.delivery import Delivery
from service.settings import DimseDestination
from service.telemetry.progress import Progress
from support.inference_worker import StandInPredictor, Workspace
from support.system.ports import free_port
from workers.delivery.context import DeliveryContext
from workers.delivery.worker import DeliveryWorker
from workers.inference.loading import read
from workers.prediction import Prediction
from workers.reporting.outputs import store_outputs

if TYPE_CHECKING:
    from workers.inference.predictor import Predictor

NAME = "pacs"


class DeliverySetup:
    """A workspace with one destination, and jobs with report and overlay pending to it."""

    def __init__(
        self,
        folder: Path,
        peer: ScriptedPacs | StoreSCP,
        *,
        progress: Progress | None = None,
        commitment_seconds: float | None = None,
        tls: Mapping[str, Any] | None = None,
        associations: int = 4,
        **deliver: object,
    ) -> None:
        self.destination = DimseDestination(
            **(tls or {}),
            name=NAME,
            ae_title=peer.ae_title,
            host=peer.host,
            port=peer.port or free_port(),
            connect_seconds=2,
            response_seconds=20,
            storage_commitment=commitment_seconds is not None,
            commitment_seconds=commitment_seconds or 1,
            associations=associations,
        )
        peer.port = self.destination.port
        self.workspace = Workspace(folder, destinations=(self.destination,), deliver=deliver)
        self.ledger, self.clock = self.workspace.ledger, self.workspace.clock
        self.stopping = threading.Event()
        self.context = DeliveryContext(
            settings=self.workspace.settings,
            ledger=self.ledger,
            spool=self.workspace.spool,
            holder="test/deliver/1/",
            stopping=self.stopping,
            progress=progress or Progress(),
        )
        self.worker = DeliveryWorker(self.context)

    def report(self, side: int = 100) -> str:
        """Receive an instance of `side` rows, predict and report it; return the job."""
        job_id = self.workspace.receive(make_cr(rows=side, columns=side))
        (job,) = self.ledger.jobs.lease("w/", 1, lease_seconds=60, maximum_attempts=3)
        predictor = cast("Predictor", StandInPredictor())
        reading = read(predictor, self.workspace.spool.inbox(job_id))
        (prediction,) = predictor.predict([reading.prepared.tensor])
        assert isinstance(prediction, Prediction)
        workspace = self.workspace
        store_outputs(
            workspace.settings,
            workspace.ledger,
            workspace.spool,
            job,
            reading.header,
            reading.shown,
            prediction,
        )
        return job_id

    def deliver(self) -> None:
        """Do what one wake-up starts."""
        self.worker.deliver_due(self.destination)

    def of(self, job_id: str, kind: str = "sr") -> Delivery:
        """One delivery of a job."""
        found = self.ledger.queries.deliveries(job_id)
        return next(each for each in found if each.kind == kind)

    def breaker_pause(self) -> float:
        """For how long the breaker is open; 0 if it is closed."""
        before = self.clock.now
        pause = 0.0
        while not self.ledger.deliveries.lease(NAME, "probe/", 1, lease_seconds=1):
            pause += 0.5
            self.clock.now = before + pause
        self.ledger.release("probe/")
        self.clock.now = before
        return pause
