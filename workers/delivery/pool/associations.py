"""The associations that send what is outstanding to one destination, a thread each."""

import contextlib
import queue
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from service.crash_points import CrashPoint, passed
from service.domain.delivery import Delivery
from service.settings import Destination
from service.telemetry.tracing.spans import Step, Timed
from workers.delivery.context import DeliveryContext
from workers.delivery.pool.outstanding import Outstanding
from workers.delivery.pool.slots import FIRST, Slots
from workers.delivery.stored_output import (
    DestinationUnavailableError,
    StoreResponse,
)
from workers.delivery.transport import Transport, open_transport

_POLL_SECONDS: Final = 1.0
WAITING_FOR_EACH: Final = 4  # outputs that wait for each association before one more is opened


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An association was opened."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of one output: a response, or why there is none."""

    delivery: Delivery
    seconds: float
    response: StoreResponse | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """An association ended, or could not be opened."""

    number: int
    was_open: bool
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Noticed:
    """Further outputs are due."""


Message = Opened | Answer | Ended | Noticed


class Associations:
    """The associations of one round to one destination.

    One thread opens them and reads what they say, which is how they are counted.

    They are opened one by one, and each sends what is outstanding until that is closed. One that is
    still being opened when the round ends is left to itself: a destination that serves one
    association at a time answers it only then, and it is released at once.
    """

    def __init__(
        self,
        context: DeliveryContext,
        destination: Destination,
        sop_classes: Collection[str],
        outstanding: Outstanding,
        slots: Slots,
    ) -> None:
        self._sop_classes = frozenset(sop_classes)
        self._messages: queue.Queue[Message] = queue.Queue()
        self._context = context
        self._destination = destination
        self._outstanding = outstanding
        self._slots = slots
        self._opening: set[int] = set()
        self._open: set[int] = set()

    @property
    def is_alive(self) -> bool:
        """Whether an association may still send."""
        return FIRST in self._opening or bool(self._open)

    def open_first(self) -> None:
        """Begin to open the first association."""
        self._start(FIRST)

    def open_another(self) -> None:
        """Begin to open one more association if enough outputs wait and the destination allows."""
        count = len(self._open) + len(self._opening)
        if self._outstanding.waiting_count < WAITING_FOR_EACH * count:
            return
        number = self._slots.take()
        if number is not None:
            self._start(number)

    def propose(self, deliveries: Sequence[Delivery]) -> bool:
        """Return whether the SOP classes of these outputs were proposed."""
        return {each.sop_class_uid for each in deliveries} <= self._sop_classes

    def notice(self) -> None:
        """Wake who waits for messages, since further outputs are due; from any thread."""
        self._messages.put(Noticed())

    def next_messages(self, seconds: float = _POLL_SECONDS) -> list[Message]:
        """Return all that associations have said, waiting a little for the first."""
        messages: list[Message] = []
        with contextlib.suppress(queue.Empty):
            messages.append(self._messages.get(timeout=min(seconds, _POLL_SECONDS)))
            while True:
                messages.append(self._messages.get_nowait())
        for message in messages:
            self._note(message)
        return messages

    def end(self) -> None:
        """Wait until each association that is open has ended, whatever was answered."""
        self._outstanding.stop()
        while self.is_alive:
            self.next_messages()

    def _note(self, message: Message) -> None:
        """Keep count of what is open."""
        if isinstance(message, Answer | Noticed):
            return
        is_first = message.number == FIRST
        self._opening.discard(message.number)
        if isinstance(message, Opened):
            self._open.add(message.number)
            if not is_first:
                self._slots.resume()
        else:
            self._open.discard(message.number)
            if not (is_first or message.was_open or message.error is None):
                self._slots.pause()

    def _start(self, number: int) -> None:
        self._opening.add(number)
        threading.Thread(
            target=self._run,
            args=[number],
            name=f"{self._destination.name}/{number}",
            daemon=True,
        ).start()

    def _run(self, number: int) -> None:
        """Open an association, send, and release it; runs in a thread of its own."""
        error: Exception | None = None
        opened = threading.Event()
        name = f"{self._destination.name}/{number}"
        try:
            with self._context.progress.working(name, self._context.step_seconds):
                self._send_over(number, opened, partial(self._context.progress.touch, name))
        except Exception as exc:  # noqa: BLE001 -- the thread that began the round decides
            error = exc
        finally:
            self._slots.give_back(number)
            self._messages.put(Ended(number=number, was_open=opened.is_set(), error=error))

    def _send_over(self, number: int, opened: threading.Event, touch: partial[None]) -> None:
        def moved() -> None:
            touch()
            self._outstanding.touch()

        settings = self._context.settings
        with open_transport(
            self._destination,
            settings.dicom.ae_title,
            sorted(self._sop_classes),
            moved,
            direct=settings.deliver.direct_sending,
        ) as transport:
            opened.set()
            self._messages.put(Opened(number=number))
            while transport.is_open:
                delivery = self._outstanding.take(touch)
                if delivery is None:
                    return
                if not transport.is_open:  # it was lost while nothing was to be sent
                    self._outstanding.put_back(delivery)
                    return
                self._send(transport, delivery)
                moved()

    def _send(self, transport: Transport, delivery: Delivery) -> None:
        """Send one output.

        Raises:
            DestinationUnavailableError: the destination is out of reach, whatever the output.
        """
        path = self._context.spool.outbox(delivery.job_id, delivery.kind, delivery.sop_instance_uid)
        sending = Timed(
            (delivery.job_id,),
            Step.DELIVER,
            destination=delivery.destination,
            kind=delivery.kind,
            attempt=delivery.attempt,
        )
        response: StoreResponse | None = None
        error: Exception | None = None
        try:
            with sending:
                response = transport.send(path)
                _say_answer(sending, response)
            passed(CrashPoint.DELIVER_ANSWERED)
        except DestinationUnavailableError:
            self._outstanding.put_back(delivery)
            raise
        except Exception as exc:  # noqa: BLE001 -- one output must not stop the others
            error = exc
        self._outstanding.answer(delivery)
        self._messages.put(
            Answer(delivery=delivery, seconds=sending.seconds, response=response, error=error)
        )


def _say_answer(sending: Timed, response: StoreResponse) -> None:
    """Have the span of an output name the status that it was answered with."""
    status = f"0x{response.status:04X}"
    sending.add(status=status)
    if not response.taken:
        sending.fail(status)
