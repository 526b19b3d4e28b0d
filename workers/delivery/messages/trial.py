"""Try a receiver of messages without sending it any: template, address and credentials."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from service.messages.example import EXAMPLES
from service.messages.facts import ReportFacts
from service.settings import (
    EmailDestination,
    FhirDestination,
    Hl7Destination,
    MessageDestination,
    WebhookDestination,
)
from workers.delivery.messages import fhir, mllp, smtp, webhook

_R4: Final = "4.0."


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What a receiver did."""

    text: str
    http_status: int | None = None  # what it answered, where it was asked over HTTP
    is_right: bool = True  # whether it is what the settings say


def try_receiver(destination: MessageDestination) -> Tried:
    """Make messages of invented reports, and see whether the receiver answers.

    Raises:
        MessageTemplateError: the template cannot be used.
        NoResponseError: the receiver does not answer.
    """
    if isinstance(destination, WebhookDestination):
        return _try_webhook(destination)
    if isinstance(destination, Hl7Destination):
        return _try_hl7(destination)
    if isinstance(destination, FhirDestination):
        return _try_fhir(destination)
    if isinstance(destination, EmailDestination):
        return _try_email(destination)
    raise TypeError(f"no trial is known for a {type(destination).__name__}")


def _try_webhook(destination: WebhookDestination) -> Tried:
    data = webhook.event_data(destination)
    _make_all(data.of)
    with webhook.connect_webhook(destination, data) as service:
        return Tried(text=f"{destination.url} answers", http_status=service.probe())


def _try_hl7(destination: Hl7Destination) -> Tried:
    template = mllp.oru_template(destination)
    _make_all(template.of)
    with mllp.open_mllp(destination):
        where = f"{destination.host}:{destination.port}"
        return Tried(text=f"{where} takes connections; no message is sent on trial")


def _try_fhir(destination: FhirDestination) -> Tried:
    template = fhir.transaction_template(destination)
    _make_all(template.of)
    with fhir.connect_fhir(destination, template) as server:
        found = server.capability()
    where = f"{destination.url} answers"
    if found.fhir_version is None:
        return Tried(text=f"{where} without a CapabilityStatement", http_status=found.http_status)
    if not found.fhir_version.startswith(_R4):
        text = f"{where} as FHIR {found.fhir_version}, and not as R4 ({_R4}x)"
        return Tried(text=text, http_status=found.http_status, is_right=False)
    text = f"{where} as FHIR {found.fhir_version}"
    if destination.write == "transaction":
        takes = "takes" if found.takes_transactions else "does not say that it takes"
        text += f" and {takes} transactions"
    return Tried(text=text, http_status=found.http_status)


def _try_email(destination: EmailDestination) -> Tried:
    template = smtp.email_template(destination)
    _make_all(template.of)
    with smtp.open_smtp(destination):
        how = "over TLS" if destination.tls else "without TLS"
        who = f"lets {destination.user} in" if destination.user else "takes connections"
        where = f"{destination.host}:{destination.port}"
        return Tried(text=f"{where} {who} {how}; no e-mail is sent on trial")


def _make_all(make: Callable[[ReportFacts], object]) -> None:
    for report in EXAMPLES:
        make(report)
