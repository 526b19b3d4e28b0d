"""The breaker of an infer worker: no job is leased while the environment fails for all of them."""

from typing import Final

import structlog

from service.domain.backoff import backoff_seconds
from service.errors import EX_TEMPFAIL, ExplainedError
from service.settings import InferSettings
from service.storage.faults import Fault
from service.storage.ledger import Breaker, Ledger, LedgerError
from service.telemetry.metrics import BREAKER_OPENINGS

OPENINGS_PER_RESTART: Final = 4  # in a row

log = structlog.get_logger()


class RestartNeededError(ExplainedError):
    """This worker cannot go on: another process of the same configuration may."""

    exit_status = EX_TEMPFAIL

    def __init__(self, fault: Fault, detail: str = "") -> None:
        why = f"{fault}: {detail}" if detail else str(fault)
        super().__init__(f"The infer worker must start anew ({why}).")


class WorkerBreaker:
    """The breaker that the infer workers of one machine share: also one that starts later.

    Closed: jobs are leased. Open: none is, during a pause that doubles each time. Half-open: one
    at a time, until a report closes the breaker or a fault opens it again.

    One thread looks; all others may open and close.
    """

    def __init__(self, ledger: Ledger, holder: str, limits: InferSettings) -> None:
        self._breakers = ledger.breakers
        self._now = ledger.now
        self._name = holder.rstrip("/").rpartition("/")[0] + "/"  # HOST/infer/PID/ without the PID
        self._limits = limits
        self.seen: Breaker | None = None  # as of the last look or opening
        self.restart_for: Fault | None = None  # set: this process must end

    def look(self) -> Breaker | None:
        """Return the breaker as it is in the ledger; None if it is closed."""
        seen = self._breakers.get(self._name)
        self.seen = seen
        return seen

    def is_half_open_for(self, fault: Fault) -> bool:
        """Return whether the next job shows if this fault is gone, as of the last look."""
        seen = self.seen  # another thread may close it
        return seen is not None and seen.fault is fault

    def open(self, fault: Fault, *, ends_process: bool = False) -> None:
        """Open the breaker, unless it is open already.

        Args:
            fault: Why.
            ends_process: Whether this process cannot get over the fault.
        """
        if ends_process:
            self.restart_for = fault
        try:
            opened = self._breakers.open(self._name, self._pause_seconds, fault)
        except LedgerError as error:  # then nothing can be leased either
            log.warning("ledger_silent", exc_info=error)
            return
        if opened is None:
            return
        self.seen = opened
        BREAKER_OPENINGS.labels(fault=fault).inc()
        seconds = max(0, round(opened.open_until - self._now()))
        log.error("breaker_opened", fault=fault, count=opened.failures, seconds=seconds)
        if opened.failures % OPENINGS_PER_RESTART == 0 and fault.may_end_with_process:
            self.restart_for = fault

    def close(self, seen: Breaker | None) -> None:
        """Close the breaker upon a success, unless it was opened anew meanwhile.

        Args:
            seen: The breaker as it was seen when the work that succeeded began: a success of work
                that began before a fault does not show that the fault is gone.
        """
        if seen is None:
            return
        try:
            is_closed = self._breakers.close_if_same(seen)
        except LedgerError as error:  # the next report closes it
            log.warning("ledger_silent", exc_info=error)
            return
        if is_closed:
            log.info("breaker_closed", fault=seen.fault)
        if self.seen == seen:
            self.seen = None

    def _pause_seconds(self, failures: int) -> float:
        return backoff_seconds(
            failures,
            first=self._limits.backoff_seconds,
            longest=self._limits.maximum_backoff_seconds,
        )
