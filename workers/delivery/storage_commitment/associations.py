"""Storage commitment on the wire: asked of a destination, told to a sender (PS3.4 annex J)."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import N_EVENT_REPORT_RSP
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from service.dicom.statuses import (
    NO_SUCH_SOP_CLASS,
)
from service.dicom.storage_commitment import (
    REQUEST_COMMITMENT,
    STORAGE_COMMITMENT,
    SYNTAXES,
    WELL_KNOWN_INSTANCE,
    Message,
    Request,
    Result,
    action_information,
    event_information,
)
from service.settings import DimseDestination
from workers.delivery.dimse import Peer, entity_for, reach
from workers.delivery.reactor_pause import held
from workers.delivery.stored_output import NoResponseError

NOT_ACCEPTED: Final = NO_SUCH_SOP_CLASS  # what a context that was not accepted means to us
_GOODBYE_SECONDS: Final = 0.05  # between the last answer's way into the queue and the release


class Asker:
    """An association on which commitment is asked for, and on which the result may come."""

    def __init__(self, receive_result: Callable[[Message], int]) -> None:
        self._take_result = receive_result
        self._hears = threading.Event()
        self._has_answered = threading.Event()
        self.association: Association | None = None

    @property
    def handlers(self) -> list[Any]:
        """What pynetdicom calls when a result comes, and when it was answered."""
        return [
            (evt.EVT_N_EVENT_REPORT, self._hear),
            (evt.EVT_DIMSE_SENT, self._note_answer),
        ]

    @property
    def is_open(self) -> bool:
        """Whether a result could still come on this association."""
        return self.association is not None and bool(self.association.is_established)

    def ask(self, request: Request) -> int:
        """Send N-ACTION and give the status.

        Raises:
            UnreachableError: no answer came.
        """
        if not _takes(self.association):
            return NOT_ACCEPTED
        try:
            association = self._established()
            with held(association):
                status, _ = association.send_n_action(
                    action_information(request),
                    REQUEST_COMMITMENT,
                    UID(STORAGE_COMMITMENT),
                    UID(WELL_KNOWN_INSTANCE),
                )
        except RuntimeError as exc:  # the association ended meanwhile
            raise NoResponseError("association-lost") from exc
        return _status(status)

    def finish(self) -> None:
        """Release the association, after the answer to a result that is being heard."""
        if self._hears.is_set() and self._has_answered.wait(1):
            threading.Event().wait(_GOODBYE_SECONDS)
        if self.is_open:
            self._established().release()

    def _established(self) -> Association:
        if self.association is None:
            raise NoResponseError("association-lost")
        return self.association

    def _hear(self, event: Any) -> tuple[int, None]:  # noqa: ANN401 -- pynetdicom's events are made at run time
        self._hears.set()
        request = event.request
        encoded: BytesIO | None = request.EventInformation
        message = Message(
            sop_class_uid=str(request.AffectedSOPClassUID or ""),
            sop_instance_uid=str(request.AffectedSOPInstanceUID or ""),
            type_id=request.EventTypeID,
            encoded=encoded.getvalue() if encoded is not None else b"",
            transfer_syntax_uid=str(event.context.transfer_syntax),
        )
        return self._take_result(message), None

    def _note_answer(self, event: Any) -> None:  # noqa: ANN401 -- as above
        if isinstance(event.message, N_EVENT_REPORT_RSP):
            self._has_answered.set()


@contextmanager
def asking(
    destination: DimseDestination, calling_ae_title: str, receive_result: Callable[[Message], int]
) -> Iterator[Asker]:
    """Open an association to ask a destination for its commitment.

    `receive_result` is called in another thread if the result comes on this association, and gives
    the status that it is answered.

    Raises:
        UnreachableError: the destination could not be reached or refused the association.
    """
    entity = entity_for(destination, calling_ae_title)
    entity.add_requested_context(STORAGE_COMMITMENT, list(SYNTAXES))
    entity.add_requested_context(Verification)  # or the association fails with the other context
    asker = Asker(receive_result)
    asker.association = reach(entity, destination, asker.handlers)
    try:
        yield asker
    finally:
        asker.finish()


class Teller:
    """An association on which a sender is told results; we propose to be its SCP."""

    def __init__(self, association: Association) -> None:
        self._association = association

    def tell(self, result: Result) -> int:
        """Send N-EVENT-REPORT and give the status.

        Raises:
            UnreachableError: no answer came.
        """
        if not _takes(self._association):
            return NOT_ACCEPTED
        try:
            with held(self._association):
                status, _ = self._association.send_n_event_report(
                    event_information(result),
                    result.event_type,
                    UID(STORAGE_COMMITMENT),
                    UID(WELL_KNOWN_INSTANCE),
                )
        except RuntimeError as exc:  # the association ended meanwhile
            raise NoResponseError("association-lost") from exc
        return _status(status)


@contextmanager
def telling(peer: Peer, calling_ae_title: str) -> Iterator[Teller]:
    """Open an association to tell a sender what we commit ourselves to, as its SCP (PS3.7 D.3.3.4).

    Raises:
        UnreachableError: the sender could not be reached or refused the association.
    """
    entity = entity_for(peer, calling_ae_title)
    entity.add_requested_context(STORAGE_COMMITMENT, list(SYNTAXES))
    role = build_role(UID(STORAGE_COMMITMENT), scu_role=False, scp_role=True)
    association = reach(entity, peer, roles=[role])
    try:
        yield Teller(association)
    finally:
        if association.is_established:
            association.release()


def _takes(association: Association | None) -> bool:
    return association is not None and any(
        context.abstract_syntax == STORAGE_COMMITMENT for context in association.accepted_contexts
    )


def _status(response: Dataset) -> int:
    if "Status" not in response:  # no answer in time, or an abort
        raise NoResponseError("no-answer")
    return int(response.Status)
