"""Send one message about each report, over whatever protocol its receiver speaks."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import httpx
import structlog

from service.dicom.output_elements import UnreadableOutputError
from service.dicom.statuses import PROCESSING_FAILURE, SUCCESS
from service.domain.delivery import Reference
from service.messages.facts import ReportFacts
from service.messages.reading import read_report
from service.messages.templating import MessageTemplateError
from service.settings import MessageDestination
from workers.delivery.stored_output import (
    CorruptOutputError,
    DestinationUnavailableError,
    NoResponseError,
    StoreResponse,
)
from workers.delivery.stow_response import REFUSED
from workers.delivery.web_client import refusal_of

TEMPLATE_UNUSABLE: Final = "template-unusable"
SECRET_UNREADABLE: Final = "secret-unreadable"  # noqa: S105 -- the name of a fault

Submit = Callable[[ReportFacts], int]
"""Sends the message about a report, and returns the receiver's answer as a DIMSE status."""

_REFUSED: Final = {**REFUSED, 412: PROCESSING_FAILURE}  # of FHIR: its identifier is there twice
_Loaded = TypeVar("_Loaded")

log = structlog.get_logger()


class MessageSender:
    """A transport that sends messages about the reports of the outbox."""

    def __init__(self, destination: MessageDestination, submit: Submit) -> None:
        self._destination = destination.name
        self._submit = submit
        self._unanswered = 0  # reports in a row

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent; a lost connection is made again."""
        return True

    def send(self, path: Path) -> StoreResponse:
        """Send the message about one report, and return the answer.

        The second in a row without an answer counts against the receiver.

        Raises:
            DestinationUnavailableError: the receiver cannot be reached or refuses every message.
            NoResponseError: no answer to this message came, or none can be made of this report.
            CorruptOutputError: the file in the outbox is not a report.
            OSError: the file cannot be read.
        """
        try:
            report = read_report(path)
        except UnreadableOutputError as exc:
            raise CorruptOutputError(type(exc).__name__) from exc
        status = self._answer(report)
        return StoreResponse(
            status=status, sent=Reference(report.sop_class_uid, report.sop_instance_uid)
        )

    def _answer(self, report: ReportFacts) -> int:
        try:
            status = self._submit(report)
        except DestinationUnavailableError:
            raise
        except MessageTemplateError as exc:
            _log_template(self._destination, exc)
            raise NoResponseError(TEMPLATE_UNUSABLE) from exc
        except NoResponseError as exc:
            self._unanswered += 1
            if self._unanswered > 1:
                raise DestinationUnavailableError(str(exc)) from exc
            raise
        self._unanswered = 0
        return status


def loaded(destination: MessageDestination, load: Callable[[], _Loaded]) -> _Loaded:
    """Load a template, and return what makes messages by it.

    Raises:
        DestinationUnavailableError: it cannot be used.
    """
    try:
        return load()
    except MessageTemplateError as exc:
        _log_template(destination.name, exc)
        raise DestinationUnavailableError(TEMPLATE_UNUSABLE) from exc


def status_of(http_status: int) -> int:
    """Return the DIMSE status that an HTTP status about a message stands for.

    Raises:
        NoResponseError: it is not about the message, or the receiver failed.
    """
    if httpx.codes.is_success(http_status):
        return SUCCESS
    if http_status in _REFUSED:
        return _REFUSED[http_status]
    raise refusal_of(http_status)


def _log_template(destination: str, error: MessageTemplateError) -> None:
    log.error("template_unusable", destination=destination, message=str(error))
