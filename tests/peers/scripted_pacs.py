"""A scripted PACS: pynetdicom's SCP, with responses and faults chosen by a test."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.association import Association
from support.system.ports import LOOPBACK

SR_3D, SR, SC = Comprehensive3DSRStorage, ComprehensiveSRStorage, SecondaryCaptureImageStorage
EXPLICIT, IMPLICIT = ExplicitVRLittleEndian, ImplicitVRLittleEndian
ALL: Final = tuple((uid, syntax) for uid in (SR_3D, SR, SC) for syntax in (EXPLICIT, IMPLICIT))
VERIFICATION: Final = "1.2.840.10008.1.1"
ABORT: Final = -1  # instead of a status


@dataclass
class ScriptedPacs:
    """A PACS whose behaviour a test sets; it records each object that it was sent.

    Where `pdu_read` is set, it takes in little at once, and calls it after each PDU: it may wait
    there.
    """

    takes: Sequence[tuple[str, str]] = ALL
    answer: Callable[[Dataset], int] = lambda _: 0x0000
    pdu_read: Callable[[], None] | None = None
    echoes: bool = True
    calling: str | None = None  # the only calling AE title that it accepts
    most_associations: int = 10  # at the same time; it rejects more
    longest_pdu: int = 16382  # bytes that it takes in one, as pynetdicom does by itself
    ae_title: str = "SCRIPTED"
    host: str = LOOPBACK
    port: int = 0
    tls: ssl.SSLContext | None = None
    received: list[tuple[str, str, bytes]] = field(default_factory=list)  # class, syntax, data set
    associations: int = 0
    open_now: int = 0
    open_at_once: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _established: list[Association] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator["ScriptedPacs"]:
        """Listen at its address while the block runs, on the same port each time."""
        ae = AE(ae_title=self.ae_title)
        ae.require_called_aet = True
        ae.maximum_associations = self.most_associations
        ae.maximum_pdu_size = self.longest_pdu
        if self.calling is not None:
            ae.require_calling_aet = [self.calling]
        for sop_class, syntax in self.contexts():
            ae.add_supported_context(sop_class, syntax)
        if self.echoes:
            ae.add_supported_context(VERIFICATION)
        server = ae.start_server(
            (self.host, self.port),
            block=False,
            ssl_context=self.tls,
            evt_handlers=self.handlers(),
        )
        assert server is not None
        if self.pdu_read is not None and server.socket is not None:
            server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
        self.port = server.server_address[1]
        try:
            yield self
        finally:
            _stop(server)

    def contexts(self) -> Sequence[tuple[str, str]]:
        """The SOP classes that it accepts, each in a transfer syntax."""
        return self.takes

    def handlers(self) -> list[Any]:
        """The handlers of pynetdicom's events."""
        return [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_ESTABLISHED, self._count),
            (evt.EVT_CONN_CLOSE, self._uncount),
            (evt.EVT_PDU_RECV, self._read),
        ]

    def abort(self) -> None:
        """Abort every association."""
        for association in self._established:
            association.abort()
        self._established.clear()

    def classes(self) -> list[str]:
        """The SOP classes of the objects received, in order."""
        return [sop_class for sop_class, _, _ in self.received]

    def _store(self, event: Any) -> int:  # noqa: ANN401 -- pynetdicom's
        context = event.context
        sent = event.request.DataSet.getvalue()
        self.received.append((context.abstract_syntax, context.transfer_syntax, sent))
        status = self.answer(event.dataset)
        if status == ABORT:
            event.assoc.abort()
            return 0x0000
        return status

    def _read(self, _: Any) -> None:  # noqa: ANN401 -- as above
        if self.pdu_read is not None:
            self.pdu_read()

    def _count(self, event: Any) -> None:  # noqa: ANN401 -- as above
        with self._lock:
            self._established.append(event.assoc)
            self.associations += 1
            self.open_now += 1
            self.open_at_once = max(self.open_at_once, self.open_now)

    def _uncount(self, _: Any) -> None:  # noqa: ANN401 -- as above
        with self._lock:
            self.open_now = max(0, self.open_now - 1)


def _stop(server: Any) -> None:  # noqa: ANN401 -- pynetdicom's
    """Stop the server at once, with its open associations."""
    associations = server.active_associations
    stopping = threading.Thread(target=server.shutdown)
    stopping.start()
    with contextlib.suppress(OSError):  # else it would check only twice a second
        server.socket.shutdown(socket.SHUT_RDWR)
    stopping.join()
    for association in associations:
        association.join(10)
