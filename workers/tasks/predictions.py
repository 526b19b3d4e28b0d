"""Predict the instances of leased jobs, and find out whose fault a failed prediction is."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import structlog

from service.domain.job import Job
from service.domain.queues import INFER
from service.storage.faults import Fault, fault_of
from service.telemetry.metrics import BATCH_SIZE, STAGE_SECONDS
from service.telemetry.progress import Progress
from service.telemetry.tracing.spans import Step, Timed
from workers.inference.loading import LoadedInstance
from workers.inference.model_io import AnyPredictor
from workers.inference.predictor_check import PredictorCheck
from workers.prediction import NotAnalysable, Prediction
from workers.tasks.breaker import WorkerBreaker
from workers.tasks.settlement import Settlement

Batch = Sequence[tuple[Job, LoadedInstance]]
Predicted = tuple[Job, LoadedInstance, Prediction | NotAnalysable]
Conclude = Callable[[Iterable[Predicted]], None]

log = structlog.get_logger()


class Predictions:
    """Predicts batches, and has each job concluded or settled."""

    def __init__(
        self,
        predictor: AnyPredictor,
        jobs: Settlement,
        breaker: WorkerBreaker,
        progress: Progress,
        conclude: Conclude,
    ) -> None:
        self._predictor = predictor
        self._jobs = jobs
        self._breaker = breaker
        self._progress = progress
        self._conclude = conclude
        self._check = PredictorCheck(predictor)

    def infer(self, batch: Batch) -> None:
        """Predict a batch together, except for jobs that met a fault before: those alone."""
        together = [(job, instance) for job, instance in batch if not job.faults]
        if together:
            self._infer_together(together)
        for job, instance in batch:
            if job.faults:
                self._infer_alone(job, instance)

    def _infer_together(self, batch: Batch) -> None:
        try:
            predictions = self._predict(batch)
        except Exception as error:  # a bundle's code may raise anything
            log.exception("prediction_failed", batch=len(batch))
            if fault_of(error) is Fault.DEVICE_FAILED and not self._works(batch[0][1]):
                self._lose_device([job for job, _ in batch])
            else:
                self._infer_one_by_one(batch)
            return
        self._conclude(
            (job, instance, prediction)
            for (job, instance), prediction in zip(batch, predictions, strict=True)
        )

    def _lose_device(self, jobs: Sequence[Job]) -> None:
        """Give up on the device, which fails on every input once one has corrupted its context."""
        self._breaker.open(Fault.DEVICE_FAILED, ends_process=True)
        for job in jobs:
            self._settle(job, Fault.DEVICE_FAILED, works=False)

    def _infer_one_by_one(self, batch: Batch) -> None:
        """Predict each instance of a failed batch alone; blame an instance only by evidence.

        The predictor works if it predicts one of them, or another input.
        """
        failed: list[tuple[Job, LoadedInstance, Fault | None]] = []
        for job, instance in batch:
            try:
                (prediction,) = self._predict([(job, instance)])
            except Exception as error:  # a bundle's code may raise anything
                log.exception("prediction_failed", batch=1, job_id=job.id)
                failed.append((job, instance, fault_of(error)))
            else:
                self._conclude([(job, instance, prediction)])
        if not failed:
            return
        self._check.failed([job.id for job, _, _ in failed])
        works = len(failed) < len(batch) or self._works(failed[0][1])
        if not works and any(fault is Fault.DEVICE_FAILED for _, _, fault in failed):
            self._lose_device([job for job, _, _ in failed])
            return
        for job, _, fault in failed:
            self._settle(job, fault, works=works)

    def _infer_alone(self, job: Job, instance: LoadedInstance) -> None:
        """Predict the instance of a job that met a fault before.

        The predictor is tried first with another input, so that a failure is then evidence.
        """
        works = self._works(instance)
        if works is False:
            if self._check.fault is Fault.DEVICE_FAILED:
                self._lose_device([job])
            else:
                self._settle(job, self._check.fault, works=False)
            return
        try:
            (prediction,) = self._predict([(job, instance)])
        except Exception as error:  # a bundle's code may raise anything
            log.exception("prediction_failed", batch=1, job_id=job.id)
            self._check.failed([job.id])
            fault = fault_of(error)
            self._settle(job, fault, works=works)
            if fault is Fault.DEVICE_FAILED and not self._works(instance):
                self._breaker.open(fault, ends_process=True)
        else:
            self._conclude([(job, instance, prediction)])

    def _settle(self, job: Job, fault: Fault | None, *, works: bool | None) -> None:
        """Settle a job whose instance was not predicted, by whether the predictor works."""
        if works and fault is None:
            settlement = partial(self._jobs.count_failure, job, "prediction-failed")
        else:
            fault = fault or Fault.PREDICTOR_FAILED
            settlement = partial(self._jobs.meet_fault, job, fault, works=bool(works))
        self._jobs.write(job, settlement)

    def _works(self, instance: LoadedInstance) -> bool | None:
        """Return whether the predictor works with another input; None if that is not known."""
        return self._check.works(
            instance.prepared.tensor,
            trusts_blank=not self._breaker.is_half_open_for(Fault.PREDICTOR_FAILED),
        )

    def _predict(self, batch: Batch) -> Sequence[Prediction | NotAnalysable]:
        inputs = [each.prepared.tensor for _, each in batch]
        ages = [each.age_years for _, each in batch]
        with Timed([job.id for job, _ in batch], Step.PREDICT, batch=len(batch)) as predicting:
            predictions = self._predictor.predict(inputs, ages)
        STAGE_SECONDS.labels(stage="predict").observe(predicting.seconds)
        self._progress.touch(INFER)
        BATCH_SIZE.observe(len(batch))
        self._check.passed(inputs, ages)
        return predictions
