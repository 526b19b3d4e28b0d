"""Accept or reject a request for an association before anything is created for it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from pynetdicom import AE

from service.dicom.association_pdus import Refusal, refusal, titles
from service.receiving.listener.connections.limits import AssociationLimits, Requestor
from service.receiving.listener.connections.pending import PendingConnection
from service.receiving.listener.refusals import Refused

PERMANENT, TRANSIENT = 1, 2  # PS3.8 table 9-21
_USER, _PRESENTATION = 1, 3
_CALLING_AE_TITLE, _CALLED_AE_TITLE = 3, 7
_TEMPORARY_CONGESTION, _LOCAL_LIMIT = 1, 2

NO_ROOM: Final = Refusal(TRANSIENT, _PRESENTATION, _TEMPORARY_CONGESTION, "local-limit-exceeded")
"""For a request for which this machine has no thread or descriptor left."""


def unknown_caller(reason: Refused) -> Refusal:
    """Return the refusal of a caller; whatever the reason, it hears the same (PS3.8 9.3.4)."""
    return Refusal(PERMANENT, _USER, _CALLING_AE_TITLE, reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A request for an association, as far as it is judged here."""

    called_ae_title: str
    calling_ae_title: str
    connection: PendingConnection


Rule = Callable[[Proposal], Refusal | None]
"""Refuses a proposal, or leaves it to the next rule."""


class Admission:
    """The rules for requests, in order; a request that a rule refuses takes up no association.

    Args:
        entity: the application entity, with the AE titles that it knows.
        limits: how many associations may be open.
        rules: further rules of who may call, before that of the called AE title and the limits.
    """

    def __init__(self, entity: AE, limits: AssociationLimits, rules: tuple[Rule, ...] = ()) -> None:
        self._entity = entity
        self._limits = limits
        self._rules = (self._unknown_calling_title, *rules, self._unknown_called_title)

    def admit(self, request: bytes, connection: PendingConnection) -> Requestor | Refusal:
        """Count the association that an A-ASSOCIATE-RQ asks for, or refuse it.

        Raises:
            MalformedError: the request is too short.
        """
        refused = refusal(request)
        if refused is not None:
            return refused
        called, calling = titles(request)
        proposal = Proposal(called_ae_title=called, calling_ae_title=calling, connection=connection)
        for rule in self._rules:
            refused = rule(proposal)
            if refused is not None:
                return refused
        requestor = Requestor(ae_title=calling, network=connection.network)
        exceeded = self._limits.take(requestor)
        if exceeded is not None:
            return Refusal(TRANSIENT, _PRESENTATION, _LOCAL_LIMIT, exceeded)
        return requestor

    def give_back(self, requestor: Requestor) -> None:
        """Count an association no more: it has ended."""
        self._limits.give_back(requestor)

    def is_ahead(self) -> bool:
        """Return whether another listener of this machine has fewer associations."""
        return self._limits.is_ahead()

    def _unknown_calling_title(self, proposal: Proposal) -> Refusal | None:
        known = [each.strip() for each in self._entity.require_calling_aet]
        if known and proposal.calling_ae_title not in known:
            return unknown_caller(Refused.CALLING_AE_TITLE)
        return None

    def _unknown_called_title(self, proposal: Proposal) -> Refusal | None:
        own = self._entity.ae_title.strip()
        if self._entity.require_called_aet and proposal.called_ae_title != own:
            return Refusal(PERMANENT, _USER, _CALLED_AE_TITLE, Refused.CALLED_AE_TITLE)
        return None
