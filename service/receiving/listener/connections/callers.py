"""Judge who requests an association, by the rules for senders (`service.receiving.senders`)."""

import ssl
from typing import Final

from service.dicom.association_pdus import Refusal
from service.dicom.secure_transport import peer_certificate
from service.receiving.listener.connections.admission import Proposal, Rule, unknown_caller
from service.receiving.listener.refusals import Refused
from service.receiving.senders import Caller, Mismatch, SenderRules

_KEPT_OUT_FOR: Final = {
    Mismatch.AE_TITLE: Refused.CALLING_AE_TITLE,
    Mismatch.ADDRESS: Refused.SENDER_ADDRESS,
    Mismatch.CERTIFICATE: Refused.SENDER_CERTIFICATE,
}


def rule_of_senders(senders: SenderRules) -> Rule:
    """Return the rule of admission that refuses whom no rule for senders matches."""

    def rule(proposal: Proposal) -> Refusal | None:
        connection = proposal.connection.connection
        secured = connection if isinstance(connection, ssl.SSLSocket) else None
        mismatch = senders.mismatch(
            Caller(
                ae_title=proposal.calling_ae_title,
                address=proposal.connection.host,
                certificate=peer_certificate(secured) if secured is not None else None,
            )
        )
        return unknown_caller(_KEPT_OUT_FOR[mismatch]) if mismatch is not None else None

    return rule
