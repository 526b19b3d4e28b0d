"""Associations for storage commitment: to request it as SCU, to report results as SCP (PS3.4 J)."""

import threading
import time
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

from service.dicom.reactor_pause import held
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
from workers.delivery.stored_output import NoResponseError

NOT_ACCEPTED: Final = NO_SUCH_SOP_CLASS  # what a context that was not accepted counts as
_BEFORE_RELEASE_SECONDS: Final = 0.05  # between queueing the last response and the release


class RequestAssociation:
    """An association on which commitment is requested, and on which the result may come."""

    def __init__(self, receive_result: Callable[[Message], int]) -> None:
        self._receive_result = receive_result
        self._result_came = threading.Event()
        self._has_responded = threading.Event()
        self.association: Association | None = None

    @property
    def handlers(self) -> list[Any]:
        """The handlers that pynetdicom calls for a result, and after the response to it."""
        return [
            (evt.EVT_N_EVENT_REPORT, self._handle_event_report),
            (evt.EVT_DIMSE_SENT, self._note_response),
        ]

    @property
    def is_open(self) -> bool:
        """Whether a result could still come on this association."""
        return self.association is not None and bool(self.association.is_established)

    def send(self, request: Request) -> int:
        """Send a request as N-ACTION and return the status.

        Raises:
            NoResponseError: no response came.
        """
        if not _accepts_commitment(self.association):
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
        """Release the association, after the response to a result that is being received."""
        if self._result_came.is_set() and self._has_responded.wait(1):
            time.sleep(_BEFORE_RELEASE_SECONDS)
        if self.is_open:
            self._established().release()

    def _established(self) -> Association:
        if self.association is None:
            raise NoResponseError("association-lost")
        return self.association

    def _handle_event_report(self, event: Any) -> tuple[int, None]:  # noqa: ANN401 -- pynetdicom's events are made at run time
        self._result_came.set()
        request = event.request
        encoded: BytesIO | None = request.EventInformation
        message = Message(
            sop_class_uid=str(request.AffectedSOPClassUID or ""),
            sop_instance_uid=str(request.AffectedSOPInstanceUID or ""),
            type_id=request.EventTypeID,
            encoded=encoded.getvalue() if encoded is not None else b"",
            transfer_syntax_uid=str(event.context.transfer_syntax),
        )
        return self._receive_result(message), None

    def _note_response(self, event: Any) -> None:  # noqa: ANN401 -- as above
        if isinstance(event.message, N_EVENT_REPORT_RSP):
            self._has_responded.set()


@contextmanager
def open_request_association(
    destination: DimseDestination, calling_ae_title: str, receive_result: Callable[[Message], int]
) -> Iterator[RequestAssociation]:
    """Open an association to request the commitment of a destination, and release it at the end.

    Args:
        destination: of which commitment is requested.
        calling_ae_title: used unless the destination has one of its own.
        receive_result: called in another thread if the result comes on this association; returns
            the status of the response to it.

    Raises:
        NoResponseError: the destination could not be reached or refused the association.
    """
    entity = entity_for(destination, calling_ae_title)
    entity.add_requested_context(STORAGE_COMMITMENT, list(SYNTAXES))
    entity.add_requested_context(Verification)  # or the association fails with the other context
    opened = RequestAssociation(receive_result)
    opened.association = reach(entity, destination, opened.handlers)
    try:
        yield opened
    finally:
        opened.finish()


class ReportAssociation:
    """An association on which results are reported to a sender; we propose to be its SCP."""

    def __init__(self, association: Association) -> None:
        self._association = association

    def send(self, result: Result) -> int:
        """Send a result as N-EVENT-REPORT and return the status.

        Raises:
            NoResponseError: no response came.
        """
        if not _accepts_commitment(self._association):
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
def open_report_association(peer: Peer, calling_ae_title: str) -> Iterator[ReportAssociation]:
    """Open an association to report results to a sender, as its SCP (PS3.7 D.3.3.4).

    Raises:
        NoResponseError: the sender could not be reached or refused the association.
    """
    entity = entity_for(peer, calling_ae_title)
    entity.add_requested_context(STORAGE_COMMITMENT, list(SYNTAXES))
    role = build_role(UID(STORAGE_COMMITMENT), scu_role=False, scp_role=True)
    association = reach(entity, peer, roles=[role])
    try:
        yield ReportAssociation(association)
    finally:
        if association.is_established:
            association.release()


def _accepts_commitment(association: Association | None) -> bool:
    return association is not None and any(
        context.abstract_syntax == STORAGE_COMMITMENT for context in association.accepted_contexts
    )


def _status(response: Dataset) -> int:
    if "Status" not in response:  # no response in time, or an abort
        raise NoResponseError("no-answer")
    return int(response.Status)
