"""Connections over TLS wait for their handshake and request like any other, without a thread.

DCMTK connects with the options of docs/dicom_tls.md.
"""

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from support.listener import RunningListener
from support.lobar_process import wait_for
from support.system.certificates import Authority
from support.system.ports import LOOPBACK
from support.system.programs import need_program
from synthetic.objects import make_cr

pytestmark = pytest.mark.dcmtk

Listen = Callable[..., AbstractContextManager[RunningListener]]


@pytest.fixture
def secured(listen: Listen, authority: Authority) -> Iterator[RunningListener]:
    """A listener with TLS, and one second for the handshake and the request."""
    issued = authority.issue("listener")
    with listen(
        tls_certificate_file=issued.certificate, tls_key_file=issued.key, negotiation_seconds=1
    ) as listener:
        yield listener


def dcmtk(listener: RunningListener, authority: Authority, name: str, *files: Path) -> int:
    tls: list[str | Path] = ["--anonymous-tls", "--add-cert-file", authority.certificate]
    where = ["--call", "LOBAR", LOOPBACK, str(listener.port)]
    command: list[str | Path] = [need_program(name), *tls, *where, *files]
    return subprocess.run(command, check=False, capture_output=True, timeout=60).returncode


def test_dcmtk_gets_in_beside_connections_that_never_shake_hands(
    secured: RunningListener, authority: Authority, tmp_path: Path
) -> None:
    file = tmp_path / "instance.dcm"
    dataset = make_cr(rows=512, columns=512)
    dataset.save_as(file, enforce_file_format=True)
    threads = threading.active_count()
    silent = [socket.create_connection((LOOPBACK, secured.port)) for _ in range(20)]
    wait_for(lambda: secured.connections_waiting() == 20)
    assert threading.active_count() == threads
    assert dcmtk(secured, authority, "echoscu") == 0
    assert dcmtk(secured, authority, "storescu", file) == 0
    assert len(secured.stores.jobs_of(dataset.SOPInstanceUID)) == 1
    for connection in silent:
        connection.settimeout(60)
        assert connection.recv(1) == b""
        connection.close()
    wait_for(secured.is_free)


def test_who_speaks_without_tls_is_refused_and_takes_up_nothing(
    secured: RunningListener, authority: Authority
) -> None:
    where = [LOOPBACK, str(secured.port)]
    plain = subprocess.run([need_program("echoscu"), *where], check=False, capture_output=True)
    assert plain.returncode != 0
    wait_for(secured.is_free)
    assert dcmtk(secured, authority, "echoscu") == 0
    wait_for(secured.is_free)
