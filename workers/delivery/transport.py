"""A way to a destination: DICOM's own protocol, or DICOMweb."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from service.settings import Destination, DimseDestination, WebDestination
from workers.delivery import dimse, stow_rs
from workers.delivery.stored_output import StoreResponse


class Transport(Protocol):
    """What objects are sent by while it is open."""

    @property
    def is_open(self) -> bool:
        """Whether the destination still listens and answers."""

    def send(self, path: Path) -> StoreResponse:
        """Send one object of the outbox and return the response; see `dimse.Sender.send`."""


def open_transport(
    destination: Destination,
    calling_ae_title: str,
    sop_classes: Sequence[str],
) -> AbstractContextManager[Transport]:
    """Reach a destination for objects of these SOP classes.

    Entering raises UnreachableError if it cannot be reached. Over DICOMweb that may show only when
    something is sent, and `send` raises AwayError.
    """
    if isinstance(destination, DimseDestination):
        return dimse.associate(destination, calling_ae_title, sop_classes)
    if isinstance(destination, WebDestination):
        return stow_rs.open_service(destination)
    raise TypeError(f"no way is known to a {type(destination).__name__}")
