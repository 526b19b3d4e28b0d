"""Hand an e-mail about each report to a mail server (SMTP, RFC 5321)."""

import contextlib
import smtplib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from service.dicom.statuses import OUT_OF_RESOURCES, PROCESSING_FAILURE, SUCCESS, WARNING
from service.messages.email_text import EmailTemplate
from service.messages.facts import ReportFacts
from service.settings import EmailDestination, read_secret
from workers.delivery.dimse_tls import fault_word
from workers.delivery.messages.connection import open_socket, tls_context
from workers.delivery.messages.sender import SECRET_UNREADABLE, MessageSender, loaded
from workers.delivery.sending import Touch, no_touch
from workers.delivery.stored_output import DestinationUnavailableError, NoResponseError
from workers.delivery.web_client import CONNECTION_LOST, NO_ANSWER

NO_STARTTLS: Final = "smtp-no-starttls"
SIGN_IN_REFUSED: Final = "smtp-sign-in-refused"
GREETING_REFUSED: Final = "smtp-greeting-refused"
CLOSING: Final = "smtp-closing"
_CLOSING: Final = 421  # RFC 5321 4.2.2: it closes the connection
_PERMANENT: Final = 500  # and above; those of 400 and above may pass
_OK: Final = 250


class _Client(smtplib.SMTP):
    """The client of smtplib, over connections that `open_socket` makes."""

    def __init__(self, destination: EmailDestination, touch: Touch) -> None:
        self._destination = destination
        self._touch = touch
        super().__init__(
            destination.host,
            destination.port,
            local_hostname=socket.gethostname(),  # the default asks the name service
            timeout=destination.response_seconds,
        )

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        """Connect; the name is smtplib's own."""
        del host, port
        peer = self._destination
        at_once = peer.tls and not peer.start_tls
        connection = open_socket(peer, peer.name, peer.connect_seconds, tls=at_once)
        connection.settimeout(timeout)
        return connection

    def getreply(self) -> tuple[int, bytes]:
        """Read one reply: of many recipients each has its own, and may take its time."""
        self._touch()
        return super().getreply()

    def secure(self) -> None:
        """Begin TLS on the connection (RFC 3207).

        Raises:
            DestinationUnavailableError: the server has no TLS, or none that we trust.
        """
        peer = self._destination
        context = tls_context(peer, peer.name)
        self._host = peer.tls_name or peer.host  # the name that smtplib verifies
        try:
            code, _ = self.starttls(context=context)
        except smtplib.SMTPNotSupportedError as exc:
            raise DestinationUnavailableError(NO_STARTTLS) from exc
        except smtplib.SMTPException as exc:
            raise DestinationUnavailableError(GREETING_REFUSED) from exc
        except OSError as exc:
            raise DestinationUnavailableError(fault_word(exc)) from exc
        if code >= _PERMANENT:
            raise DestinationUnavailableError(NO_STARTTLS)


class MailServer:
    """A mail server, over a connection that is made again where it was lost."""

    def __init__(
        self, destination: EmailDestination, template: EmailTemplate, touch: Touch = no_touch
    ) -> None:
        self._destination = destination
        self._template = template
        self._touch = touch
        self._client: _Client | None = None

    def connect(self) -> _Client:
        """Return a client that is connected and signed in.

        Raises:
            DestinationUnavailableError: the server cannot be reached, or does not let us in.
        """
        if self._client is not None and not _answers(self._client):
            self.close()
        if self._client is None:
            self._client = _connected(self._destination, self._touch)
        return self._client

    def close(self) -> None:
        """Take leave of the server, if there is a connection."""
        if self._client is not None:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                self._client.quit()
            self._client.close()
        self._client = None

    def submit(self, report: ReportFacts) -> int:
        """Hand over the e-mail about a report, and return the answer as a DIMSE status.

        Raises:
            MessageTemplateError: the template makes no e-mail of this report.
            NoResponseError: no answer to this e-mail came.
        """
        email = self._template.of(report)
        client = self.connect()
        try:
            refused = client.send_message(email)
        except smtplib.SMTPRecipientsRefused as exc:
            return _worst(code for code, _ in exc.recipients.values())
        except smtplib.SMTPResponseException as exc:
            if exc.smtp_code == _CLOSING:
                self.close()
                raise DestinationUnavailableError(CLOSING) from exc
            return _worst([exc.smtp_code])
        except TimeoutError as exc:
            self.close()
            raise NoResponseError(NO_ANSWER) from exc
        except (smtplib.SMTPException, OSError) as exc:
            self.close()
            raise NoResponseError(CONNECTION_LOST) from exc
        return WARNING if refused else SUCCESS  # some have it: sent again, they had it twice


@contextmanager
def open_smtp(destination: EmailDestination, touch: Touch = no_touch) -> Iterator[MessageSender]:
    """Open a connection to a mail server.

    Raises:
        DestinationUnavailableError: the template, the password or a certificate cannot be used, or
            the server does not let us in.
    """
    template = loaded(destination, partial(email_template, destination))
    server = MailServer(destination, template, touch)
    try:
        server.connect()
        yield MessageSender(destination, server.submit)
    finally:
        server.close()


def email_template(destination: EmailDestination) -> EmailTemplate:
    """Load the template of a destination.

    Raises:
        MessageTemplateError: it cannot be used.
    """
    return EmailTemplate(
        destination.template_file,
        sender=destination.sender,
        recipients=destination.recipients,
        include_patient=destination.include_patient,
        page_url=destination.page_url,
    )


def _connected(destination: EmailDestination, touch: Touch) -> _Client:
    password = _password(destination)
    try:
        client = _Client(destination, touch)
    except (smtplib.SMTPException, OSError) as exc:
        raise DestinationUnavailableError(GREETING_REFUSED) from exc
    try:
        client.ehlo_or_helo_if_needed()
        if destination.tls and destination.start_tls:
            client.secure()
        if destination.user is not None:
            client.login(destination.user, password)
    except smtplib.SMTPAuthenticationError as exc:
        client.close()
        raise DestinationUnavailableError(SIGN_IN_REFUSED) from exc
    except smtplib.SMTPNotSupportedError as exc:  # it has no way to sign in
        client.close()
        raise DestinationUnavailableError(SIGN_IN_REFUSED) from exc
    except (smtplib.SMTPException, OSError) as exc:
        client.close()
        raise DestinationUnavailableError(GREETING_REFUSED) from exc
    except DestinationUnavailableError:
        client.close()
        raise
    return client


def _password(destination: EmailDestination) -> str:
    if destination.password is not None:
        return destination.password.get_secret_value()
    if destination.password_file is None:
        return ""
    try:
        return read_secret(destination.password_file)
    except ValueError:
        raise DestinationUnavailableError(SECRET_UNREADABLE) from None


def _answers(client: _Client) -> bool:
    try:
        return client.noop()[0] == _OK
    except (smtplib.SMTPException, OSError):
        return False


def _worst(codes: "Iterator[int] | list[int]") -> int:
    """Return the DIMSE status of refusals: it may pass unless all are permanent."""
    return PROCESSING_FAILURE if all(each >= _PERMANENT for each in codes) else OUT_OF_RESOURCES
