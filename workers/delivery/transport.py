"""The transport to a destination: an association, a DICOMweb service, or a receiver of messages."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from service.settings import (
    Destination,
    DimseDestination,
    EmailDestination,
    FhirDestination,
    Hl7Destination,
    WebDestination,
    WebhookDestination,
)
from workers.delivery import dimse, stow_rs
from workers.delivery.messages import fhir, mllp, smtp, webhook
from workers.delivery.sending import Touch, no_touch
from workers.delivery.stored_output import StoreResponse


class Transport(Protocol):
    """An open connection that sends objects to one destination."""

    @property
    def is_open(self) -> bool:
        """Whether further objects can be sent."""

    def send(self, path: Path) -> StoreResponse:
        """Send one object of the outbox and return the response; see `dimse.Sender.send`."""


def open_transport(
    destination: Destination,
    calling_ae_title: str,
    sop_classes: Sequence[str],
    touch: Touch = no_touch,
    *,
    direct: bool = True,
) -> AbstractContextManager[Transport]:
    """Return the transport to a destination, for objects of these SOP classes.

    It calls `touch` for each piece that is sent or received. With `direct`, requests over an
    association go straight to its socket where that is possible.

    Entering it raises NoResponseError if the destination cannot be reached. Over DICOMweb that may
    show only when something is sent; `send` then raises DestinationUnavailableError.
    """
    if isinstance(destination, DimseDestination):
        return dimse.associate(destination, calling_ae_title, sop_classes, touch, direct=direct)
    if isinstance(destination, WebDestination):
        return stow_rs.open_service(destination, touch)
    if isinstance(destination, WebhookDestination):
        return webhook.open_webhook(destination, touch)
    if isinstance(destination, Hl7Destination):
        return mllp.open_mllp(destination, touch)
    if isinstance(destination, FhirDestination):
        return fhir.open_fhir(destination, touch)
    if isinstance(destination, EmailDestination):
        return smtp.open_smtp(destination, touch)
    raise TypeError(f"no transport is known for a {type(destination).__name__}")
