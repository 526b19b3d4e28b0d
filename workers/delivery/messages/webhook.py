"""Post a CloudEvent about each report to a web service, signed where a key is set."""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import httpx

from service.messages.cloud_event import CloudEvent, EventData, build_event
from service.messages.facts import ReportFacts
from service.settings import WebhookDestination, read_secret, signing_key
from workers.delivery.messages.sender import (
    SECRET_UNREADABLE,
    MessageSender,
    loaded,
    status_of,
)
from workers.delivery.sending import Touch, no_touch
from workers.delivery.stored_output import DestinationUnavailableError
from workers.delivery.web_client import exchange, open_client

_ORIGIN: Final = "WebHook-Request-Origin"  # HTTP 1.1 Web Hooks for Event Delivery 4.1
_SENDER: Final = "lobar"


class Webhook:
    """A web service that takes events."""

    def __init__(
        self,
        client: httpx.Client,
        destination: WebhookDestination,
        data: EventData,
        touch: Touch,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._destination = destination
        self._data = data
        self._touch = touch
        self._clock = clock
        self._key = _key(destination)

    def submit(self, report: ReportFacts) -> int:
        """Post the event about a report, and return the answer as a DIMSE status.

        Raises:
            MessageTemplateError: the template makes no data of this report.
            NoResponseError: no answer to this event came.
        """
        settings = self._destination
        event = build_event(
            report,
            self._data.of(report),
            source=settings.event_source,
            kind=settings.event_type,
        )
        mode = event.structured if settings.content_mode == "structured" else event.binary
        headers, body = mode()
        response, _ = exchange(
            self._client,
            "POST",
            settings.url,
            seconds=settings.response_seconds,
            touch=self._touch,
            content=body,
            headers={**headers, **self._signature(event, body)},
        )
        return status_of(response.status_code)

    def probe(self) -> int:
        """Ask the service whether it takes events (OPTIONS), and return the HTTP status.

        Raises:
            NoResponseError: no answer came.
        """
        response, _ = exchange(
            self._client,
            "OPTIONS",
            self._destination.url,
            seconds=self._destination.response_seconds,
            touch=self._touch,
            read_body=False,
            headers={_ORIGIN: _SENDER},
        )
        return response.status_code

    def _signature(self, event: CloudEvent, body: bytes) -> dict[str, str]:
        """Return the headers that sign an event; none without a key."""
        if self._key is None:
            return {}
        return signature(self._key, event.id, int(self._clock()), body)


def signature(key: bytes, identity: str, at: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign a body, by the Standard Webhooks."""
    signed = b".".join((identity.encode(), str(at).encode(), body))
    digest = hmac.new(key, signed, hashlib.sha256).digest()
    return {
        "webhook-id": identity,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


@contextmanager
def open_webhook(
    destination: WebhookDestination, touch: Touch = no_touch
) -> Iterator[MessageSender]:
    """Open a client of a web service that takes events; it connects when one is sent.

    Raises:
        DestinationUnavailableError: the template, the key, the token or a certificate cannot be
            used.
    """
    data = loaded(destination, partial(event_data, destination))
    with connect_webhook(destination, data, touch) as webhook:
        yield MessageSender(destination, webhook.submit)


@contextmanager
def connect_webhook(
    destination: WebhookDestination, data: EventData, touch: Touch = no_touch
) -> Iterator[Webhook]:
    """Open a client without a transport around it; as `open_webhook`."""
    with open_client(destination) as client:
        yield Webhook(client, destination, data, touch)


def event_data(destination: WebhookDestination) -> EventData:
    """Load the template of a destination.

    Raises:
        MessageTemplateError: it cannot be used.
    """
    return EventData(destination.template_file, include_patient=destination.include_patient)


def _key(destination: WebhookDestination) -> bytes | None:
    if destination.signing_key is not None:
        return signing_key(destination.signing_key.get_secret_value())
    if destination.signing_key_file is None:
        return None
    try:
        key = signing_key(read_secret(destination.signing_key_file))
    except ValueError:
        key = None
    if key is None:
        raise DestinationUnavailableError(SECRET_UNREADABLE)
    return key
