"""Let the shadow model read instances that were reported, and record what it says.

It leases, decodes and predicts as the infer worker does, but has no outbox and no notifier: nothing
that it does reaches a job, a report or a destination. If it is slow or fails, nothing else waits.
"""

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import structlog

from service.decoding import DecodersBusyError, DecodersLostError
from service.domain.backoff import backoff_seconds
from service.domain.monitoring.shadow import Reading, ShadowWork
from service.settings import Settings
from service.storage.ledger import Ledger, LedgerError, StaleLeaseError
from service.storage.ledger.work.shadows import BYTES_GONE, EXHAUSTED, SAME_MODEL
from service.storage.spool import Spool
from service.telemetry.metrics import SHADOW_FAILURES, SHADOW_READINGS
from service.telemetry.progress import Progress
from workers.inference.loading import LoadedInstance, Reader, read
from workers.inference.model_io import AnyPredictor
from workers.prediction import NotAnalysable, NotAnalysed, Prediction, reading_of

_WORK: Final = "shadow"  # that makes progress
POLL_SECONDS: Final = 1.0  # between looks for instances to read: nobody waits for this model

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class ShadowWorker:
    """Reads what is due, until `stopping` is set."""

    settings: Settings
    ledger: Ledger
    spool: Spool
    predictor: AnyPredictor
    holder: str  # of the leases
    reader: Reader | None = None  # reads the pixels; the predictor itself does if it is None
    stopping: threading.Event = field(default_factory=threading.Event)
    progress: Progress = field(default_factory=Progress)

    def run(self) -> None:
        """Read what is due, again and again, until `stopping` is set.

        Raises:
            DecodersLostError: no decoder can be started; what was leased is due again.
        """
        seconds = self.settings.stuck_seconds + self.settings.decoding.seconds
        while not self.stopping.is_set():
            try:
                with self.progress.working(_WORK, seconds):
                    while self.read_batch() and not self.stopping.is_set():
                        pass
            except LedgerError as exc:  # the leases run out
                log.warning("shadow_interrupted", exc_info=exc)
            self.stopping.wait(POLL_SECONDS)

    def read_batch(self) -> int:
        """Lease instances, let the model read them, record what it says; return how many."""
        limits = self.settings.infer
        works = self.ledger.shadows.lease(
            self.holder, limits.batch_size, lease_seconds=limits.lease_seconds
        )
        loaded: list[tuple[ShadowWork, LoadedInstance]] = []
        said: list[tuple[ShadowWork, Reading]] = []
        for work in works:
            if failure := self._unread(work):
                self._give_up(work, failure)
                continue
            match self._load(work):
                case LoadedInstance() as instance:
                    loaded.append((work, instance))
                case NotAnalysable() as refusal:
                    said.append((work, self._reading(refusal)))
            self.progress.touch(_WORK)
        said += self._predict(loaded)
        if said:
            self._record(said)
        return len(works)

    def _unread(self, work: ShadowWork) -> str | None:
        """Return why an instance is not read, if it is not."""
        if work.attempt > self.settings.infer.maximum_attempts:
            return EXHAUSTED  # this process ended with it each time
        model = self.predictor.model
        own = f"{model.name} {model.version}", model.operating_point.name
        return SAME_MODEL if work.reported_by == own else None  # planned before a promotion

    def _record(self, said: Sequence[tuple[ShadowWork, Reading]]) -> None:
        """Record what the model said; what was analysed again meanwhile is left out."""
        try:
            self.ledger.shadows.record(said)
        except StaleLeaseError:
            if len(said) > 1:
                for each in said:
                    self._record([each])
            return
        for work, reading in said:
            SHADOW_READINGS.labels(reported=work.reported, shadow=reading.outcome).inc()

    def _load(self, work: ShadowWork) -> LoadedInstance | NotAnalysable | None:
        """Read an instance, or why the bundle refuses it; None if it is settled otherwise."""
        try:
            return read(self.reader or self.predictor, self.spool.inbox(work.job_id))
        except FileNotFoundError:
            if self.spool.inbox(work.job_id).parent.is_dir():
                self._give_up(work, BYTES_GONE)
            else:
                self._postpone(work)  # it is the inbox that is gone
        except NotAnalysable as refusal:
            return refusal
        except DecodersLostError:
            raise
        except DecodersBusyError:
            self._postpone(work)
        except Exception:  # one instance must not end the batch
            log.exception("shadow_failed", job_id=work.job_id)
            self._postpone(work)
        return None

    def _predict(
        self, loaded: Sequence[tuple[ShadowWork, LoadedInstance]]
    ) -> list[tuple[ShadowWork, Reading]]:
        """Return what the model says; where it fails, each is tried alone, then later again."""
        if not loaded:
            return []
        try:
            predictions = self.predictor.predict(
                [each.prepared.tensor for _, each in loaded],
                [each.age_years for _, each in loaded],
            )
        except Exception:  # a bundle's code may raise anything
            log.exception("shadow_failed", batch=len(loaded))
            if len(loaded) > 1:
                return [said for each in loaded for said in self._predict([each])]
            self._postpone(loaded[0][0])
            return []
        finally:
            self.progress.touch(_WORK)
        return list(self._read_all(loaded, predictions))

    def _read_all(
        self,
        loaded: Sequence[tuple[ShadowWork, LoadedInstance]],
        predictions: Sequence[Prediction | NotAnalysable],
    ) -> Iterable[tuple[ShadowWork, Reading]]:
        for (work, _), prediction in zip(loaded, predictions, strict=True):
            yield work, self._reading(prediction)

    def _reading(self, prediction: Prediction | NotAnalysable) -> Reading:
        if isinstance(prediction, Prediction):
            return reading_of(prediction)
        return reading_of(NotAnalysed(reason=prediction.reason, model=self.predictor.model))

    def _give_up(self, work: ShadowWork, failure: str) -> None:
        with suppress(StaleLeaseError):  # analysed again meanwhile
            self.ledger.shadows.give_up(work, failure)
        SHADOW_FAILURES.labels(failure=failure).inc()

    def _postpone(self, work: ShadowWork) -> None:
        """Let an instance be due again after a pause, unless it was tried often enough."""
        limits = self.settings.infer
        if work.attempt >= limits.maximum_attempts:
            self._give_up(work, EXHAUSTED)
            return
        pause = backoff_seconds(
            work.attempt, first=limits.backoff_seconds, longest=limits.maximum_backoff_seconds
        )
        with suppress(StaleLeaseError):
            self.ledger.shadows.postpone(work, pause)
