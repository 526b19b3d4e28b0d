"""C-STORE to a destination over an association, and the status of each response."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from service.dicom.association_pdus import strict_form
from service.dicom.connection_end import close_refused_and_reset_sockets
from service.dicom.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from service.dicom.reactor_pause import held, install
from service.dicom.sop_classes import RESULT_SOP_CLASSES, RESULT_SYNTAXES
from service.dicom.statuses import SOP_CLASS_NOT_SUPPORTED
from service.dicom.steady_timer import use_steady_timers
from service.domain.delivery import Reference
from service.settings import CommitmentPeer, DimseDestination
from workers.delivery import direct_store
from workers.delivery.dimse_tls import tls_arguments
from workers.delivery.sending import SOCKET_OPTIONS, Touch, acknowledge_at_once, no_touch, watch
from workers.delivery.stored_output import (
    NO_CONNECTION,
    UNKNOWN_HOST,
    Names,
    NoResponseError,
    StoreResponse,
    comprehensive_fallback,
    encode_converted,
    read_dataset,
    read_names,
)

OFFERED: Final = tuple(UID(each) for each in RESULT_SOP_CLASSES)
close_refused_and_reset_sockets()
_config.STORE_SEND_CHUNKED_DATASET = True  # a path given to send_c_store goes as it lies on disk
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

    def __init__(
        self, association: Association, touch: Touch = no_touch, *, direct: bool = True
    ) -> None:
        self._association = association
        self._touch = touch
        self._is_direct = direct
        self._rest = ExitStack()
        self._is_at_rest = False
        self._answers = True

    @property
    def is_open(self) -> bool:
        """Whether the association is established and the destination responds on it."""
        if self._is_at_rest and not direct_store.is_established(self._association):
            return False
        return self._answers and bool(self._association.is_established)

    def wake(self) -> None:
        """Let the association go on by itself, so that it can be released."""
        self._is_at_rest = False
        self._rest.close()

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
            return self._store(path, names)
        dataset = read_dataset(path)
        if names.sop_class_uid == Comprehensive3DSRStorage and not self.takes(names.sop_class_uid):
            dataset = comprehensive_fallback(dataset, names).dataset
        sent = Reference(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID))
        if not self.takes(sent.sop_class_uid):
            return StoreResponse(status=SOP_CLASS_NOT_SUPPORTED, sent=sent)
        implicit = not self.takes(sent.sop_class_uid, ExplicitVRLittleEndian)
        converted_names = Names(
            sop_class_uid=sent.sop_class_uid,
            sop_instance_uid=sent.sop_instance_uid,
            transfer_syntax_uid=ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian,
        )
        with NamedTemporaryFile(prefix="lobar-", suffix=".dcm") as converted:
            # a data set would be decoded and encoded again by pydicom; a file goes as it is
            converted.write(encode_converted(dataset, implicit=implicit))
            converted.flush()
            return self._store(Path(converted.name), converted_names)

    def _store(self, path: Path, names: Names) -> StoreResponse:
        if not self.is_open:  # pynetdicom would wait for a response that cannot come
            raise NoResponseError("association-lost")
        try:
            response = self._exchange(path, names)
        except (RuntimeError, direct_store.ConnectionLostError) as exc:  # it ended meanwhile
            raise NoResponseError("association-lost") from exc
        if "Status" not in response:  # no response in time, or an abort that shows a little later
            self._answers = False
            raise NoResponseError("no-answer")
        return StoreResponse(status=int(response.Status), sent=names.reference)

    def _exchange(self, path: Path, names: Names) -> Dataset:
        """Send one file whose class and transfer syntax were accepted; return the response."""
        connection = direct_store.connection_of(self._association)
        if connection is None or not self._is_direct:
            with held(self._association):
                return self._association.send_c_store(path)
        context = self._context(names.sop_class_uid, names.transfer_syntax_uid)
        if context is None:
            raise NoResponseError("association-lost")
        if not self._is_at_rest:
            self._rest.enter_context(direct_store.at_rest(self._association))
            self._is_at_rest = True
        return direct_store.store(
            self._association, connection, path, names.reference, context, self._touch
        )

    def echo(self) -> int:
        """Send C-ECHO and return the status.

        Raises:
            NoResponseError: no response came.
        """
        self.wake()
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
        return self._context(sop_class, transfer_syntax) is not None

    def _context(self, sop_class: str, transfer_syntax: str | None) -> int | None:
        """Return the ID of the presentation context for a SOP class; None if there is none."""
        for context in self._association.accepted_contexts:
            if context.abstract_syntax == sop_class and transfer_syntax in {
                None,
                context.transfer_syntax[0],
            }:
                return context.context_id
        return None


@contextmanager
def associate(
    destination: DimseDestination,
    calling_ae_title: str,
    sop_classes: Sequence[str],
    touch: Touch = no_touch,
    *,
    direct: bool = True,
) -> Iterator[Sender]:
    """Open an association for objects of these SOP classes, and release it at the end.

    Each piece that is sent or received calls `touch`. A response is awaited from the last piece of
    its request on.

    Args:
        destination: The peer.
        calling_ae_title: Our AE title, unless the destination has one of its own for us.
        sop_classes: The SOP classes to propose.
        touch: Called for each piece.
        direct: Whether requests are written straight to the socket, where that is possible.

    Raises:
        NoResponseError: the destination could not be reached or refused the association.
    """
    entity = entity_for(destination, calling_ae_title)
    _propose(entity, sop_classes)
    association = reach(entity, destination)
    watch(association, touch)
    sender = Sender(association, touch, direct=direct)
    try:
        yield sender
    finally:
        is_open = sender.is_open
        sender.wake()
        if is_open:
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
    connection = event.assoc.dul.socket.socket
    if connection is not None:
        acknowledge_at_once(connection)
