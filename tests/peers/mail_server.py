"""aiosmtpd, a real SMTP server, on loopback: what it takes, and what it answers."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from support.system.ports import LOOPBACK, free_port

OK = "250 OK"


class _Controller(Controller):
    """aiosmtpd's controller, which tries its server with a context that is the server's own."""

    def _trigger_server(self) -> None:
        if self.ssl_context is None:
            super()._trigger_server()
            return
        trying = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trying.check_hostname, trying.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection((LOOPBACK, self.port), 5) as plain, trying.wrap_socket(plain):
            pass


@dataclass
class MailServer:
    """A mail server; `answer` returns what it says to an e-mail, `to` what to each recipient."""

    answer: Callable[[EmailMessage], str] = lambda _: OK
    to: Callable[[str], str] = lambda _: OK
    tls: ssl.SSLContext | None = None
    at_once: bool = False  # TLS, without STARTTLS
    password: str | None = None
    port: int = field(default_factory=free_port)
    received: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator["MailServer"]:
        """Listen on loopback while the block runs."""
        arguments: dict[str, Any] = {}
        if self.tls is not None and not self.at_once:
            arguments |= {"tls_context": self.tls, "require_starttls": True}
        if self.password is not None:
            # aiosmtpd does not see that a connection has TLS from its beginning
            by_starttls = self.tls is not None and not self.at_once
            arguments |= {
                "authenticator": self._sign_in,
                "auth_required": by_starttls,
                "auth_require_tls": by_starttls,
            }
        controller = _Controller(
            self,
            hostname=LOOPBACK,
            port=self.port,
            ssl_context=self.tls if self.at_once else None,
            ready_timeout=30,
            **arguments,
        )
        controller.start()
        try:
            yield self
        finally:
            controller.stop()

    def _sign_in(self, *given: Any) -> AuthResult:  # noqa: ANN401 -- aiosmtpd's own
        found = given[4]
        is_right = isinstance(found, LoginPassword) and found.password.decode() == self.password
        return AuthResult(success=is_right, handled=False)  # aiosmtpd answers

    async def handle_RCPT(  # noqa: N802 -- what aiosmtpd calls it
        self,
        _server: object,
        _session: object,
        envelope: Any,  # noqa: ANN401 -- aiosmtpd's own
        address: str,
        _options: object,
    ) -> str:
        """Answer to one recipient."""
        answer = self.to(address)
        if answer == OK:
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: ANN401,N802
        """Keep an e-mail, and answer to it."""
        email = BytesParser(policy=default).parsebytes(envelope.content)
        answer = self.answer(email)
        if answer == OK:
            self.received.append(email)
            self.recipients.append(list(envelope.rcpt_tos))
        return answer
