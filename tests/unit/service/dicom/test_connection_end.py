"""A socket of pynetdicom is closed at its end, whatever the peer did."""

import socket
import struct

import pytest
from pynetdicom import AE
from pynetdicom.association import MODE_REQUESTOR, Association
from pynetdicom.transport import AssociationSocket
from support.system.ports import LOOPBACK

from service.dicom.connection_end import close_refused_and_reset_sockets

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close resets the connection


def connected() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection over TCP."""
    with socket.create_server((LOOPBACK, 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    return ours, theirs


def ended(connection: socket.socket) -> socket.socket:
    """End a connection as pynetdicom's state machine does, and return it."""
    close_refused_and_reset_sockets()
    association = Association(AE(), MODE_REQUESTOR)
    transport = AssociationSocket(association, client_socket=connection)
    transport._shutdown_socket()
    return connection


@pytest.mark.parametrize("is_reset", [True, False])
def test_the_socket_is_closed(*, is_reset: bool) -> None:
    ours, theirs = connected()
    if is_reset:
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    theirs.close()
    ours.settimeout(5)
    if is_reset:
        with pytest.raises(ConnectionResetError):
            ours.recv(1)
    else:
        assert ours.recv(1) == b""
    assert ended(ours).fileno() == -1


def test_the_socket_of_a_refused_connection_is_closed() -> None:
    assert ended(socket.socket()).fileno() == -1
