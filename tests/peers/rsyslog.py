"""An rsyslogd of Debian with its own configuration, in a folder of the test, on loopback.

`start`, `stop` and `kill` as of any server; `messages` is what it wrote to its file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import pytest
from support.system.certificates import Certificate
from support.system.ports import LOOPBACK, accepts_connections, free_port
from support.system.process import Server
from support.system.programs import missing, need_program

_LARGE: Final = 32768  # octets of a message that a receiver has to take, PS3.15 A.6


@dataclass(frozen=True, kw_only=True)
class Tls:
    """The server's certificate, and the authority whose clients it takes."""

    authority: Path
    certificate: Certificate
    clients: bool = False  # whether clients need a certificate of the authority

    @property
    def driver(self) -> str:
        """The part of the configuration that is about TLS."""
        mode = "x509/certvalid" if self.clients else "anon"
        return f'StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="{mode}"'

    @property
    def files(self) -> str:
        """The global settings for it."""
        return (
            'global(defaultNetstreamDriver="ossl" '
            f'defaultNetstreamDriverCAFile="{self.authority}" '
            f'defaultNetstreamDriverCertFile="{self.certificate.certificate}" '
            f'defaultNetstreamDriverKeyFile="{self.certificate.key}")'
        )


class Rsyslog:
    """A syslog server that appends the message part of all it gets to a file, line by line."""

    def __init__(self, folder: Path, tls: Tls | None = None, *, udp: bool = False) -> None:
        program = need_program("rsyslogd")
        if tls is not None and not list(Path("/usr/lib").glob("*/rsyslog/lmnsd_ossl.so")):
            missing("no OpenSSL in rsyslog: install the Debian package rsyslog-openssl")
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.file = folder / "messages"
        configuration = folder / "rsyslog.conf"
        configuration.write_text(self._configuration(folder, tls, udp=udp))
        command: list[str | Path] = [program, "-n", "-f", configuration, "-i", folder / "pid"]
        self._server = Server(
            command,
            log=folder / "log",
            answers=lambda: (folder / "pid").exists() if udp else accepts_connections(self.port),
        )
        self.start = self._server.start
        self.stop = self._server.stop
        self.kill = self._server.kill

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def messages(self) -> list[str]:
        """The whole messages, in the order in which they came."""
        return self.file.read_text().splitlines() if self.file.exists() else []

    @property
    def log(self) -> str:
        """What it said about itself."""
        return self._server.log_tail()

    def _configuration(self, folder: Path, tls: Tls | None, *, udp: bool) -> str:
        listen = f'port="{self.port}" address="{LOOPBACK}"'
        driver = tls.driver if tls else ""
        inputs = (
            f'module(load="imudp")\ninput(type="imudp" {listen})'
            if udp
            else f'module(load="imtcp" {driver})\ninput(type="imtcp" {listen})'
        )
        return "\n".join(
            [
                f'global(workDirectory="{folder}" maxMessageSize="{_LARGE}")',
                *([tls.files] if tls else []),
                inputs,
                # as it came, without the escaping of control characters
                'global(parser.escapeControlCharactersOnReceive="off")',
                'template(name="raw" type="string" string="%rawmsg%\\n")',
                f'action(type="omfile" file="{self.file}" template="raw" asyncWriting="off")',
                "",
            ]
        )


@pytest.fixture
def rsyslog(tmp_path: Path) -> Rsyslog:
    """A syslog server over TCP; a test starts it."""
    return Rsyslog(tmp_path / "rsyslog")
