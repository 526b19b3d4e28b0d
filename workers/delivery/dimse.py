"""C-STORE to a destination over an association, and the status of each response."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
)
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from service.dicom.association_pdus import strict_form
from service.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from service.dicom.sop_classes import RESULT_SOP_CLASSES, RESULT_SYNTAXES
from service.dicom.statuses import SOP_CLASS_NOT_SUPPORTED
from service.dicom.steady_timer import use_steady_timers
from service.domain.delivery import Reference
from service.settings import CommitmentPeer, DimseDestination
from workers.delivery.dimse_tls import tls_arguments
from workers.delivery.reactor_pause import held, install
from workers.delivery.sending import SOCKET_OPTIONS, Touch, no_touch, watch
from workers.delivery.stored_output import (
    NO_CONNECTION,
    UNKNOWN_HOST,
    NoResponseError,
    StoreResponse,
    comprehensive_fallback,
    encode_converted,
    read_dataset,
    read_names,
)

OFFERED: Final = tuple(UID(each) for each in RESULT_SOP_CLASSES)
_config.STORE_SEND_CHUNKED_DATASET = True  # a path given to send_c_store goes as it lies on disk
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)  # Linux
MAXIMUM_PDU_BYTES: Final = 128 * 1024
NOTHING_ACCEPTED: Final = "nothing-accepted"


Peer = DimseDestination | CommitmentPeer
"""An application entity that associations are opened to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFacts:
    """What a peer says of itself when an association is negotiated (PS3.7 D.3.3)."""

    implementation: str  # version name and class UID; empty where it says neither
    maximum_pdu_bytes: int  # 0 is unlimited


class Sender:
    """An open association to a destination."""

    def __init__(self, association: Association) -> None:
        self._association = association
        self._answers = True

    @property
    def is_open(self) -> bool:
        """Whether the association is established and the destination responds on it."""
        return self._answers and bool(self._association.is_established)

    def send(self, path: Path) -> StoreResponse:
        """Send one object with C-STORE and return the response.

        The object is sent byte for byte if its transfer syntax was accepted. A Comprehensive 3D SR
        is sent as its Comprehensive SR fallback if only that was accepted. A conversion to Implicit
        VR Little Endian keeps each value byte for byte.

        Raises:
            NoResponseError: no response came.
            CorruptOutputError: the file in the outbox is not a DICOM object.
            OSError: the file cannot be read, or its conversion not be written.
        """
        names = read_names(path)
        if self.takes(names.sop_class_uid, names.transfer_syntax_uid):
            return self._store(path, names.reference)
        dataset = read_dataset(path)
        if names.sop_class_uid == Comprehensive3DSRStorage and not self.takes(names.sop_class_uid):
            dataset = comprehensive_fallback(dataset, names).dataset
        sent = Reference(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID))
        if not self.takes(sent.sop_class_uid):
            return StoreResponse(status=SOP_CLASS_NOT_SUPPORTED, sent=sent)
        implicit = not self.takes(sent.sop_class_uid, ExplicitVRLittleEndian)
        with NamedTemporaryFile(prefix="lobar-", suffix=".dcm") as converted:
            # a data set would be decoded and encoded again by pydicom; a file goes as it is
            converted.write(encode_converted(dataset, implicit=implicit))
            converted.flush()
            return self._store(Path(converted.name), sent)

    def _store(self, path: Path, sent: Reference) -> StoreResponse:
        if not self.is_open:  # pynetdicom would wait for a response that cannot come
            raise NoResponseError("association-lost")
        try:
            with held(self._association):
                response = self._association.send_c_store(path)
        except RuntimeError as exc:  # the association ended meanwhile
            raise NoResponseError("association-lost") from exc
        if "Status" not in response:  # no response in time, or an abort that shows a little later
            self._answers = False
            raise NoResponseError("no-answer")
        return StoreResponse(status=int(response.Status), sent=sent)

    def echo(self) -> int:
        """Send C-ECHO and return the status.

        Raises:
            NoResponseError: no response came.
        """
        try:
            with held(self._association):
                response = self._association.send_c_echo()
        except (RuntimeError, ValueError) as exc:
            raise NoResponseError("echo-not-accepted") from exc
        if "Status" not in response:
            raise NoResponseError("no-answer")
        return int(response.Status)

    @property
    def peer(self) -> PeerFacts:
        """What the destination says of itself."""
        acceptor = self._association.acceptor
        names = (acceptor.implementation_version_name, acceptor.implementation_class_uid)
        return PeerFacts(
            implementation=", ".join(str(each) for each in names if each),
            maximum_pdu_bytes=int(acceptor.maximum_length or 0),
        )

    def takes(self, sop_class: str, transfer_syntax: str | None = None) -> bool:
        """Return whether a SOP class was accepted, in a transfer syntax if one is given."""
        return any(
            context.abstract_syntax == sop_class
            and transfer_syntax in {None, context.transfer_syntax[0]}
            for context in self._association.accepted_contexts
        )


@contextmanager
def associate(
    destination: DimseDestination,
    calling_ae_title: str,
    sop_classes: Sequence[str],
    touch: Touch = no_touch,
) -> Iterator[Sender]:
    """Open an association for objects of these SOP classes, and release it at the end.

    Each PDU calls `touch`. A response is awaited from the last PDU of its request on.

    Raises:
        NoResponseError: the destination could not be reached or refused the association.
    """
    entity = entity_for(destination, calling_ae_title)
    _propose(entity, sop_classes)
    association = reach(entity, destination)
    watch(association, touch)
    sender = Sender(association)
    try:
        yield sender
    finally:
        if sender.is_open:
            association.release()


def entity_for(peer: Peer, calling_ae_title: str) -> AE:
    """Build our application entity for a peer, without presentation contexts."""
    ae = AE(ae_title=peer.calling_ae_title or calling_ae_title)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    ae.connection_timeout = peer.connect_seconds
    ae.acse_timeout = peer.response_seconds
    ae.dimse_timeout = peer.response_seconds
    ae.network_timeout = peer.response_seconds
    return ae


def reach(
    entity: AE,
    peer: Peer,
    handlers: Sequence[Any] = (),
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Association:
    """Open an association, which the caller releases.

    Raises:
        NoResponseError: the peer could not be reached or refused the association.
    """
    connected = threading.Event()
    tls = tls_arguments(peer)
    try:
        association = entity.associate(
            peer.host,
            peer.port,
            ae_title=peer.ae_title,
            max_pdu=MAXIMUM_PDU_BYTES,
            ext_neg=list(roles),
            tls_args=tls,
            evt_handlers=[
                (evt.EVT_CONN_OPEN, _prepare, [connected, peer.response_seconds]),
                (evt.EVT_DATA_SENT, _acknowledge_at_once),
                (evt.EVT_DATA_RECV, _acknowledge_at_once),
                *handlers,
            ],
        )
    except OSError as exc:  # its host name cannot be resolved
        raise NoResponseError(UNKNOWN_HOST) from exc
    if not association.is_established:
        _hang_up(association)
        if tls is not None and tls[0].fault is not None:
            raise NoResponseError(tls[0].fault)
        raise NoResponseError(_how_it_failed(association) if connected.is_set() else NO_CONNECTION)
    install(association)
    use_steady_timers(association.dul)
    return association


def _propose(ae: AE, sop_classes: Sequence[str]) -> None:
    proposed = set(sop_classes)
    if Comprehensive3DSRStorage in proposed:
        proposed.add(ComprehensiveSRStorage)
    for sop_class in sorted(proposed):
        for syntax in RESULT_SYNTAXES:  # a context each, so that both may be accepted
            ae.add_requested_context(sop_class, syntax)
    ae.add_requested_context(Verification)


def _hang_up(association: Association) -> None:
    """Close the socket that pynetdicom leaves open after a response that is not DICOM."""
    transport = association.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.close()


def _how_it_failed(association: Association) -> str:
    if association.is_rejected:
        return "association-rejected"
    if association.rejected_contexts and not association.accepted_contexts:
        return NOTHING_ACCEPTED
    return "association-aborted"  # or without a response, upon which pynetdicom aborts it


def _prepare(event: Any, connected: threading.Event, silence_seconds: float) -> None:  # noqa: ANN401 -- pynetdicom's events are made at run time
    """Note the connection, prepare for odd answers and silent peers, and send at once.

    With Nagle's algorithm a delayed ACK costs 44 ms an object. A peer that takes no byte for the
    time of a response is given up.
    """
    connected.set()
    layer = event.assoc.dul
    use_steady_timers(layer)
    decode = layer._decode_pdu  # noqa: SLF001 -- there is no public way
    layer._decode_pdu = lambda pdu: decode(strict_form(bytes(pdu)))  # noqa: SLF001 -- as above
    connection = event.assoc.dul.socket.socket
    if connection is not None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(silence_seconds)
        for option in SOCKET_OPTIONS:
            connection.setsockopt(*option)


def _acknowledge_at_once(event: Any) -> None:  # noqa: ANN401 -- as above
    """Acknowledge at once, so that a peer with Nagle's algorithm never waits for a delayed ACK.

    The kernel falls back to delayed ACKs after each packet, so this is set after each.
    """
    connection = event.assoc.dul.socket.socket
    if connection is not None and _QUICKACK is not None:
        with contextlib.suppress(OSError):  # it was closed in the meantime
            connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
