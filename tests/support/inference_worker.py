"""A spool and a ledger with instances for the workers, and a stand-in for the bundle."""

import time
import uuid
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from synthetic.report_sources import MODEL

from service.domain.job import Job, JobState, Source
from service.domain.reasons import Reason
from service.receiving.acceptance import Rejection
from service.receiving.ingest import Ingest
from service.settings import Settings
from service.storage.spool import Spool
from support.migrated_ledger import open_ledger
from support.system.clock import Clock
from workers.prediction import Model, NotAnalysable, OtherAbnormality, Prediction
from workers.tasks.inference_worker import InferenceWorker

if TYPE_CHECKING:
    from workers.inference.predictor import Predictor

Pixels = NDArray[np.float32]
PACS: Final = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class StandInModelInput:
    """The fields of `workers.inference.pipeline.ModelInput`, without torch."""

    tensor: Pixels
    tones: None = None
    picture: Pixels | None = None


@dataclass
class StandInPredictor:
    """A stand-in for `Predictor`: its interface, and a mean for a network.

    The real one has tests of its own, which hold that service and bundle give one number.
    `on_read`, `on_picture` and `on_predict` are called first and may raise.
    """

    model: Model = MODEL
    device: str = "cpu"
    on_read: Callable[[Dataset], None] = lambda _: None
    on_predict: Callable[[list[Pixels]], None] = lambda _: None
    on_picture: Callable[[Dataset], None] = lambda _: None
    other: OtherAbnormality | None = None
    population: str | None = None
    batches: list[int] = field(default_factory=list)
    ages: list[float | None] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)

    def read(self, path: Path) -> StandInModelInput:
        dataset = dcmread(path, force=True)
        self.on_read(dataset)
        if "PixelData" not in dataset:
            raise NotAnalysable(Reason.NO_PIXELS)
        return StandInModelInput(tensor=self._picture(dataset)[None, ::8, ::8])

    def read_with_picture(self, path: Path) -> StandInModelInput:
        """Read it for the network alone, as the parts of a bundle that cannot do both."""
        return self.read(path)

    def picture(self, path: Path) -> Pixels:
        self.pictures.append(path)
        dataset = dcmread(path, force=True)
        self.on_picture(dataset)
        return self._picture(dataset)

    def _picture(self, dataset: Dataset) -> Pixels:
        return np.asarray(dataset.pixel_array / (2**dataset.BitsStored - 1), dtype=np.float32)

    def predict(
        self, prepared: list[Pixels], ages: list[float | None] | None = None
    ) -> list[Prediction]:
        self.batches.append(len(prepared))
        self.ages.extend(ages or [])
        self.on_predict(prepared)
        # a bundle's decoders give inputs from -1 to 1
        means = [float(np.maximum(0, float(each.mean()))) for each in prepared]
        point = self.model.operating_point
        return [
            Prediction(
                finding=point.read(mean),
                probability=mean,
                model=self.model,
                other=self.other,
                population=self.population,
            )
            for mean in means
        ]


class Workspace:
    """Ledger and spool in a folder, a clock that the test sets, and a way to receive instances."""

    def __init__(self, folder: Path, **settings: Any) -> None:  # noqa: ANN401 -- any of the tree
        self.clock = Clock(time.time())
        self.settings = Settings(**{"state_dir": folder, "destinations": (PACS,), **settings})
        self.spool = Spool(self.settings.spool_dir)
        self.spool.prepare()
        self.ledger = open_ledger(self.settings.ledger_url, self.clock)
        self._ingest = Ingest(self.spool, self.ledger, lambda: None)

    def receive(self, dataset: Dataset) -> str:
        """Receive an instance as an upload, and return its job's id."""
        arrived = self.spool.incoming / uuid.uuid4().hex
        dataset.save_as(arrived, enforce_file_format=True)
        receipt = self._ingest.receive(arrived, source=Source.UPLOAD)
        assert not isinstance(receipt, Rejection), receipt
        return receipt.job_id

    def worker(
        self,
        decoders: Executor,
        predictor: "StandInPredictor | Predictor | None" = None,
        **more: Any,  # noqa: ANN401 -- any field of the worker
    ) -> InferenceWorker:
        """Make a worker, as a process that begins anew would."""
        fields = {
            "settings": self.settings,
            "ledger": self.ledger,
            "spool": self.spool,
            "predictor": predictor or StandInPredictor(),
            "notify": lambda _: None,
            "holder": "test/infer/1/",
            "decoders": decoders,
        }
        return InferenceWorker(**{**fields, **more})

    def job(self, job_id: str) -> Job:
        """Return the job as it is now."""
        job = self.ledger.queries.job(job_id)
        assert job is not None
        return job

    def stands(self, job_id: str) -> tuple[JobState, Reason | None]:
        """Return the job's state and reason."""
        job = self.job(job_id)
        return job.state, job.reason

    def output(self, job_id: str, kind: str) -> Path:
        """Return the path of the output of a kind that the ledger has for a job now."""
        (uid,) = (
            each.sop_instance_uid
            for each in self.ledger.queries.outputs(job_id)
            if each.kind == kind
        )
        return self.spool.outbox(job_id, kind, uid)

    def outbox(self) -> dict[str, bytes]:
        """Return the bytes of every output in the outbox, by file name."""
        outputs = (self.spool.root / "outbox").glob("??/*.dcm")
        return {path.name: path.read_bytes() for path in outputs}

    def names(self, job_id: str) -> list[str]:
        """List the names of the job's events."""
        return [event.name for event in self.ledger.queries.trace(job_id)]
