"""Delivery to one destination: lease, send, record the responses, request storage commitment."""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from service.crash_points import CrashPoint, passed
from service.domain.delivery import Delivery
from service.settings import Destination
from service.telemetry.metrics import DELIVERIES
from workers.delivery.context import DeliveryContext
from workers.delivery.pool.associations import Answer, Associations, Ended, Message
from workers.delivery.pool.notice import Notice
from workers.delivery.pool.outstanding import Outstanding
from workers.delivery.pool.slots import FIRST, Slots
from workers.delivery.recording import Recorder
from workers.delivery.storage_commitment.request import CommitmentRequester
from workers.delivery.stored_output import NoResponseError

_POLL_SECONDS: Final = 1.0
_LEASES_IN_A_ROW: Final = 16  # before commitment is requested, however much comes in meanwhile

log = structlog.get_logger()


class Stream:
    """Whether outputs to a destination come one soon after the other."""

    def __init__(self, keep_open_seconds: float) -> None:
        """Take outputs as a stream if they come within so many seconds."""
        self._limit_seconds = keep_open_seconds
        self._ended_at = -math.inf  # by the monotonic clock
        self.keep_open_seconds = 0.0  # for how long an association that is idle is kept open

    def begin(self) -> None:
        """Note that outputs are due."""
        is_soon = time.monotonic() - self._ended_at <= self._limit_seconds
        self.keep_open_seconds = self._limit_seconds if is_soon else 0.0

    def end(self) -> None:
        """Note that no more are due."""
        self._ended_at = time.monotonic()


class DeliveryWorker:
    """Sends outputs to destinations, over one or several associations to each."""

    def __init__(self, context: DeliveryContext) -> None:
        self._context = context
        self._recorder = Recorder(context)
        self._commitments = CommitmentRequester(context)
        self._slots: dict[str, Slots] = {}
        self._streams: dict[str, Stream] = {}
        self._lock = threading.Lock()

    def deliver_due(self, destination: Destination, notice: Notice | None = None) -> None:
        """Send all outputs due to a destination, and request the commitment that is due.

        Args:
            destination: Where to.
            notice: Taken each time before the ledger is asked what is due, and heard meanwhile.
        """
        stream = self._streams.setdefault(
            destination.name, Stream(self._context.settings.deliver.keep_open_seconds)
        )
        stream.begin()
        is_more_due = True
        while is_more_due:
            is_more_due = self._send_due(destination, notice or Notice(), stream)
            self._commitments.request_due(destination)
        stream.end()

    def _send_due(self, destination: Destination, notice: Notice, stream: Stream) -> bool:
        """Send what is due, a lease at a time; return True if commitment must not wait longer."""
        slots = self._slots_of(destination)
        return Round(self._context, destination, self._recorder, slots, notice, stream).deliver()

    def _slots_of(self, destination: Destination) -> Slots:
        with self._lock:
            return self._slots.setdefault(destination.name, Slots(destination.associations))


class Round:
    """What is sent to one destination before commitment is requested.

    This thread leases and records; a thread for each association sends. So the next output is on
    its way while the answer to the one before becomes durable. In a stream of outputs associations
    stay open for a moment when nothing is due.
    """

    def __init__(
        self,
        context: DeliveryContext,
        destination: Destination,
        recorder: Recorder,
        slots: Slots,
        notice: Notice,
        stream: Stream,
    ) -> None:
        self._context = context
        self._destination = destination
        self._recorder = recorder
        self._slots = slots
        self._notice = notice
        self._stream = stream
        self._idle_until: float | None = None  # by the monotonic clock; None: not idle
        self._was_idle = False  # since the first association was opened
        self._leases_left = _LEASES_IN_A_ROW
        self._has_more = True  # as of the last lease
        self._is_over = False  # nothing more is due, or the rest must wait
        self._failure: Exception | None = None

    def deliver(self) -> bool:
        """Send what is due; return True if more may be due."""
        leased = self._lease(self._batch_size)
        while leased:
            leased = self._send(leased)
        return not (self._is_over or self._context.stopping.is_set())

    @property
    def _batch_size(self) -> int:
        return self._context.settings.deliver.batch_size

    def _lease(self, limit: int) -> Sequence[Delivery]:
        """Lease up to so many outputs that are due."""
        context = self._context
        if not self._leases_left or context.stopping.is_set():
            return []
        context.progress.touch(self._destination.name)
        self._notice.take()
        leased = context.ledger.deliveries.lease(
            self._destination.name,
            context.holder,
            limit,
            lease_seconds=context.settings.deliver.lease_seconds,
        )
        self._has_more = len(leased) == limit
        self._is_over = not leased
        if leased:
            self._leases_left -= 1
            passed(CrashPoint.DELIVER_LEASED)
        return leased

    def _send(self, leased: Sequence[Delivery]) -> Sequence[Delivery]:
        """Send outputs and those of later leases; return leased ones of further SOP classes."""
        outstanding = Outstanding(self._context, self._destination)
        outstanding.add(leased, self._studies_of(leased))
        associations = Associations(
            self._context,
            self._destination,
            {each.sop_class_uid for each in leased},
            outstanding,
            self._slots,
        )
        others: Sequence[Delivery] = []
        self._was_idle, self._idle_until = False, None
        with self._notice.waking(associations.notice):
            associations.open_first()
            try:
                while associations.is_alive:
                    messages = associations.next_messages(self._patience_seconds)
                    self._handle(messages, associations, outstanding)
                    if not outstanding.is_closed:
                        others = self._lease_more(associations, outstanding)
            except BaseException:
                outstanding.remove_waiting()  # the leases run out
                associations.end()
                raise
        unsent = outstanding.remove_waiting()
        # else the destination ended what idled
        is_interrupted = bool(unsent) and not self._was_idle
        if is_interrupted or self._failure or self._context.stopping.is_set():
            self._release([*unsent, *others])
            return []
        return [*unsent, *others]

    def _handle(
        self, messages: Sequence[Message], associations: Associations, outstanding: Outstanding
    ) -> None:
        answers = [each for each in messages if isinstance(each, Answer)]
        self._recorder.record(answers)
        for answer in answers:
            outstanding.settle(answer.delivery)
        if any(answer.response is not None for answer in answers):
            associations.open_another()
        for message in messages:
            if isinstance(message, Ended) and message.error is not None:
                self._judge(message, message.error)
                if self._failure is not None:
                    outstanding.stop()

    def _judge(self, ended: Ended, error: Exception) -> None:
        """Decide whether the end of an association ends the round."""
        if ended.number != FIRST and not ended.was_open and isinstance(error, NoResponseError):
            log.info("association_not_added", destination=self._destination.name, reason=str(error))
        else:
            self._failure = error

    def _lease_more(
        self, associations: Associations, outstanding: Outstanding
    ) -> Sequence[Delivery]:
        """Lease more in good time; return what needs associations for further SOP classes."""
        count = outstanding.count
        if count > (self._batch_size // 2 if self._has_more else 0):
            return []
        is_quiet = not (count or self._has_more or self._notice.is_given)
        if is_quiet and self._stay_open():
            self._is_over = True  # unless there is a notice of more
            return []
        if is_quiet and self._idle_until is not None:  # for long enough
            outstanding.close()
            return []
        leased = self._lease(self._batch_size - count)
        if leased and associations.propose(leased):
            self._idle_until = None
            outstanding.add(leased, self._studies_of(leased))
            return []
        if leased or not (count or self._stay_open()):
            outstanding.close()
        return leased

    def _stay_open(self) -> bool:
        """Begin to wait for further outputs, or go on; return False if it is not worth while."""
        is_stream = self._stream.keep_open_seconds > 0
        if not is_stream or not self._leases_left or self._context.stopping.is_set():
            return False
        if self._idle_until is None:
            self._idle_until = time.monotonic() + self._stream.keep_open_seconds
            self._was_idle = True
        return self._patience_seconds > 0

    @property
    def _patience_seconds(self) -> float:
        """For how long to wait for messages."""
        if self._idle_until is None:
            return _POLL_SECONDS
        return max(0.0, self._idle_until - time.monotonic())

    def _release(self, unsent: Sequence[Delivery]) -> None:
        """End the lease of what was not sent; open the breaker where that is why.

        Raises:
            Exception: what nobody expected.
        """
        error = self._failure
        if error is None:
            self._recorder.release(unsent, "interrupted")
            self._is_over = self._is_over or bool(unsent)
            return
        if not isinstance(error, NoResponseError):
            raise error
        self._is_over = True
        name = self._destination.name
        DELIVERIES.labels(destination=name, outcome="unreachable").inc()
        self._context.open_breaker(self._destination, str(error))
        self._recorder.release(unsent, str(error))

    def _studies_of(self, leased: Sequence[Delivery]) -> Mapping[str, str]:
        """Return the studies of jobs, none of which must be sent twice at once."""
        if self._destination.associations == 1:  # nothing is sent at once
            return {}
        return self._context.ledger.queries.studies({each.job_id for each in leased})
