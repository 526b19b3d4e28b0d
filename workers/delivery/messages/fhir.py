"""Post resources about each report to a FHIR R4 server, as a transaction or one by one."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import httpx

from service.dicom.statuses import SUCCESS
from service.messages.facts import ReportFacts
from service.messages.fhir.bundle import (
    MEDIA_TYPE,
    TransactionTemplate,
    encode,
    with_references,
)
from service.messages.fhir.terms import Resource, Systems
from service.settings import FhirDestination
from workers.delivery.messages.sender import MessageSender, loaded, status_of
from workers.delivery.sending import Touch, no_touch
from workers.delivery.stored_output import NoResponseError
from workers.delivery.stow_rs import NOT_CONFIRMED
from workers.delivery.web_client import exchange, open_client

_TRANSACTION: Final = "transaction"
_ID: Final = r"[A-Za-z0-9.-]{1,64}"  # FHIR R4 2.24.0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """What a server says of itself (`/metadata`)."""

    http_status: int
    fhir_version: str | None  # None where it cannot be read
    takes_transactions: bool | None


class FhirServer:
    """A FHIR server that takes transactions."""

    def __init__(
        self,
        client: httpx.Client,
        destination: FhirDestination,
        template: TransactionTemplate,
        touch: Touch,
    ) -> None:
        self._client = client
        self._destination = destination
        self._template = template
        self._touch = touch

    def submit(self, report: ReportFacts) -> int:
        """Post what is to be said of a report, and return the answer as a DIMSE status.

        Raises:
            MessageTemplateError: the template makes no transaction of this report.
            NoResponseError: no answer came.
        """
        transaction = self._template.of(report)
        if self._destination.write == _TRANSACTION:
            response, _ = self._post("", encode(transaction))
            return status_of(response.status_code)
        return self._create_each(transaction["entry"])

    def _create_each(self, entries: Sequence[Resource]) -> int:
        """Create resources one by one, in their order: each may refer to those before it.

        Where one is refused, those before it stay. A repeat finds them by their identifiers.
        """
        known: dict[str, str] = {}
        for entry in entries:
            kind, condition = str(entry["request"]["url"]), entry["request"].get("ifNoneExist")
            content = encode(with_references(entry["resource"], known))
            headers = {} if condition is None else {"If-None-Exist": str(condition)}
            response, body = self._post(f"/{kind}", content, headers)
            status = status_of(response.status_code)
            if status != SUCCESS:
                return status
            known[str(entry.get("fullUrl"))] = _reference(kind, response.headers, body)
        return SUCCESS

    def _post(
        self, path: str, content: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[httpx.Response, bytes | None]:
        return exchange(
            self._client,
            "POST",
            f"{self._destination.url}{path}",
            seconds=self._destination.response_seconds,
            touch=self._touch,
            content=content,
            headers={
                "Accept": MEDIA_TYPE,
                "Content-Type": MEDIA_TYPE,
                "Prefer": "return=minimal",
                **(headers or {}),
            },
        )

    def capability(self) -> Capability:
        """Ask the server what it is.

        Raises:
            NoResponseError: no answer came.
        """
        response, body = exchange(
            self._client,
            "GET",
            f"{self._destination.url}/metadata",
            seconds=self._destination.response_seconds,
            touch=self._touch,
            headers={"Accept": MEDIA_TYPE},
        )
        version, takes = _stated(body)
        return Capability(
            http_status=response.status_code, fhir_version=version, takes_transactions=takes
        )


@contextmanager
def open_fhir(destination: FhirDestination, touch: Touch = no_touch) -> Iterator[MessageSender]:
    """Open a client of a FHIR server; it connects when something is sent.

    Raises:
        DestinationUnavailableError: the template, the token or a certificate cannot be used.
    """
    template = loaded(destination, partial(transaction_template, destination))
    with connect_fhir(destination, template, touch) as server:
        yield MessageSender(destination, server.submit)


@contextmanager
def connect_fhir(
    destination: FhirDestination, template: TransactionTemplate, touch: Touch = no_touch
) -> Iterator[FhirServer]:
    """Open a client without a transport around it; as `open_fhir`."""
    with open_client(destination) as client:
        yield FhirServer(client, destination, template, touch)


def transaction_template(destination: FhirDestination) -> TransactionTemplate:
    """Load the template of a destination.

    Raises:
        MessageTemplateError: it cannot be used.
    """
    systems = Systems(
        patient_id=destination.patient_id_system,
        accession_number=destination.accession_number_system,
    )
    return TransactionTemplate(destination.template_file, systems)


def _reference(kind: str, headers: Mapping[str, str], body: bytes | None) -> str:
    """Return the reference to what was created, or was there: by its address, or by its id.

    Raises:
        NoResponseError: the server does not say.
    """
    for name in ("Location", "Content-Location"):
        match = re.search(rf"(?:^|/)({kind}/{_ID})(?:/_history/|$)", headers.get(name, ""))
        if match:
            return match[1]
    try:
        created = json.loads(body or b"")
        identity = str(created["id"])
    except (ValueError, LookupError, TypeError) as exc:
        raise NoResponseError(NOT_CONFIRMED) from exc
    if not re.fullmatch(_ID, identity):
        raise NoResponseError(NOT_CONFIRMED)
    return f"{kind}/{identity}"


def _stated(body: bytes | None) -> tuple[str | None, bool | None]:
    """Read a CapabilityStatement: its version, and whether it names transactions."""
    try:
        stated = json.loads(body or b"")
        version = str(stated["fhirVersion"])
        interactions = [
            each.get("code") for rest in stated["rest"] for each in rest.get("interaction", [])
        ]
    except (ValueError, LookupError, TypeError, AttributeError):
        return None, None
    return version, _TRANSACTION in interactions
