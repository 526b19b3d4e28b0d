"""A way to a destination: DICOM's own protocol, or DICOMweb."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from service.settings import Destination, DimseDestination
from workers import pacs
from workers.outgoing import Answer


class Way(Protocol):
    """What objects are sent by while it is open."""

    @property
    def is_open(self) -> bool:
        """Whether the destination still listens and answers."""

    def send(self, path: Path) -> Answer:
        """Send one object of the outbox and give the answer, as `workers.pacs.Sender.send` does."""


def open_way(
    destination: Destination,
    calling_ae_title: str,
    sop_classes: Sequence[str],
) -> AbstractContextManager[Way]:
    """Reach a destination for objects of these SOP classes.

    Entering raises UnreachableError if it cannot be reached.
    """
    if isinstance(destination, DimseDestination):
        return pacs.associate(destination, calling_ae_title, sop_classes)
    raise NotImplementedError
