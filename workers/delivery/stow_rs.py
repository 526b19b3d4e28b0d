"""STOW-RS to a destination over HTTP, and the DIMSE status of each response."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from pydicom.uid import Comprehensive3DSRStorage

from service.dicom.statuses import (
    SOP_CLASS_NOT_SUPPORTED,
    SUCCESS,
)
from service.domain.delivery import Reference
from service.settings import WebDestination
from workers.delivery.sending import Touch, no_touch
from workers.delivery.stored_output import (
    DestinationUnavailableError,
    NoResponseError,
    StoreResponse,
    comprehensive_fallback,
    read_dataset,
    read_names,
)
from workers.delivery.stow_response import dimse_status, is_about_the_object, names_instance
from workers.delivery.web_client import exchange, open_client, refusal_of

DICOM_JSON: Final = "application/dicom+json"
NOT_CONFIRMED: Final = "not-confirmed"
_PIECE_BYTES: Final = 16 * 1024  # of a payload, each of which may take as long as a response


class NotConfirmedError(NoResponseError):
    """The service may have the object: its response cannot be read, and no search found it."""

    def __init__(self) -> None:
        super().__init__(NOT_CONFIRMED)


class WebSender:
    """A DICOMweb service, over one kept-alive connection."""

    def __init__(
        self, client: httpx.Client, destination: WebDestination, touch: Touch = no_touch
    ) -> None:
        self._client = client
        self._touch = touch
        self._studies = f"{destination.url}/studies"
        self._instances = f"{destination.url}/instances"
        self._seconds = destination.response_seconds
        self._takes_3d_reports = True
        self._unanswered = 0  # objects in a row

    @property
    def is_open(self) -> bool:
        """Whether objects can be sent; a lost connection is made again."""
        return not self._client.is_closed

    def send(self, path: Path) -> StoreResponse:
        """Store one object and return the response.

        The object is sent byte for byte. A Comprehensive 3D SR to which the service responds "SOP
        class not supported" is sent as its Comprehensive SR fallback, and so are those after it.

        Raises:
            DestinationUnavailableError: the service cannot be reached or refuses every request.
            NoResponseError: no response to this object came.
            CorruptOutputError: the file in the outbox is not a DICOM object.
            OSError: the file cannot be read.
        """
        names = read_names(path)
        is_3d_report = names.sop_class_uid == Comprehensive3DSRStorage
        if self._takes_3d_reports or not is_3d_report:
            response = self._store(path.read_bytes(), names.reference)
            if not is_3d_report or response.status != SOP_CLASS_NOT_SUPPORTED:
                return response
            self._takes_3d_reports = False
        fallback = comprehensive_fallback(read_dataset(path), names)
        sent = Reference(fallback.sop_class_uid, fallback.sop_instance_uid)
        return self._store(fallback.encode(), sent)

    def query(self) -> int:
        """Query one study (QIDO-RS) without reading the body, and return the HTTP status.

        Raises:
            NoResponseError: no response came.
        """
        status, _ = self._exchange(
            "GET",
            self._studies,
            headers={"Accept": DICOM_JSON},
            params={"limit": 1},
            read_body=False,
        )
        return status

    def request(self, method: str, path: str, accept: str = DICOM_JSON) -> tuple[int, bytes | None]:
        """Send a request about a resource, and return the HTTP status and the body.

        Args:
            method: GET or DELETE.
            path: Below the base URL, such as `/studies/1.2.3/instances`.
            accept: The media type of the body.

        Returns:
            The body is None if it is too long or damaged.

        Raises:
            NoResponseError: no response came.
        """
        url = self._studies.removesuffix("/studies") + path
        return self._exchange(method, url, headers={"Accept": accept})

    def _store(self, instance: bytes, sent: Reference) -> StoreResponse:
        """Store one instance; the second in a row without a response counts against the service."""
        try:
            response = self._post(instance, sent)
        except (DestinationUnavailableError, NotConfirmedError):
            raise
        except NoResponseError as exc:
            self._unanswered += 1
            if self._unanswered > 1:
                raise DestinationUnavailableError(str(exc)) from exc
            raise
        self._unanswered = 0
        return response

    def _post(self, instance: bytes, sent: Reference) -> StoreResponse:
        boundary = uuid.uuid4().hex
        content = _multipart(instance, boundary)
        status, body = self._exchange(
            "POST",
            self._studies,
            content=self._pieces(content),
            headers={
                "Accept": DICOM_JSON,
                "Content-Length": str(len(content)),
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            },
        )
        if not is_about_the_object(status):
            raise refusal_of(status)
        meaning = dimse_status(status, body, sent.sop_instance_uid)
        if meaning is None:
            self._require_stored(sent.sop_instance_uid)
            meaning = SUCCESS
        return StoreResponse(status=meaning, sent=sent)

    def _pieces(self, content: bytes) -> Iterator[bytes]:
        """Cut a payload into pieces; each is asked for when the one before was sent."""
        for start in range(0, len(content), _PIECE_BYTES):
            self._touch()
            yield content[start : start + _PIECE_BYTES]
        self._touch()

    def _require_stored(self, sop_instance_uid: str) -> None:
        """Search for an instance (QIDO-RS) that the service may have taken (PS3.18 10.6).

        Raises:
            NotConfirmedError: it is not found, or the service has no search.
            NoResponseError: no response came.
        """
        status, body = self._exchange(
            "GET",
            self._instances,
            headers={"Accept": DICOM_JSON},
            params={"SOPInstanceUID": sop_instance_uid},
        )
        if status != httpx.codes.OK or not names_instance(body, sop_instance_uid):
            raise NotConfirmedError

    def _exchange(
        self,
        method: str,
        url: str,
        *,
        read_body: bool = True,
        **request: Any,  # noqa: ANN401 -- httpx' own
    ) -> tuple[int, bytes | None]:
        response, body = exchange(
            self._client,
            method,
            url,
            seconds=self._seconds,
            touch=self._touch,
            read_body=read_body,
            **request,
        )
        return response.status_code, body


@contextmanager
def open_service(destination: WebDestination, touch: Touch = no_touch) -> Iterator[WebSender]:
    """Open a client of a DICOMweb service, which connects when something is sent.

    Each piece that is sent or received calls `touch`.

    Raises:
        DestinationUnavailableError: the token or a certificate cannot be read.
    """
    with open_client(destination) as client:
        yield WebSender(client, destination, touch)


def _multipart(instance: bytes, boundary: str) -> bytes:
    """Build the payload of a store request for one instance (PS3.18 8.6.1.2, RFC 2387)."""
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join((head.encode(), instance, f"\r\n--{boundary}--\r\n".encode()))
