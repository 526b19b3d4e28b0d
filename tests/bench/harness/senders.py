"""Senders that cost little: PDUs encoded beforehand, TCP_NODELAY, new UIDs for each instance."""

import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from bench.harness.radiographs import CR, Radiograph, new_uids
from peers.raw_scu import P_DATA, Sender, command_set, p_data

_Broken: Final = threading.BrokenBarrierError  # because of an error in another thread
_STORE: Final = 0x0001
_STATUS: Final = struct.pack("<HHL", 0, 0x0900, 2)  # tag and length of Status, PS3.7 E.1
_LONGEST: Final = 128 * 1024
_HEAD: Final = 4096  # bytes in which the UIDs are
_OPENING_SECONDS: Final = 60  # until all associations are open


class StoreFailedError(Exception):
    """A receiver answered something other than Success."""


class Load:
    """A radiograph as the PDUs of one context and one longest PDU, ready to be sent."""

    def __init__(self, radiograph: Radiograph, longest: int) -> None:
        piece = min(longest or _LONGEST, _LONGEST) - 6
        data = radiograph.data_set
        framed = bytearray()
        for start in range(0, len(data), piece):
            part = data[start : start + piece]
            framed += p_data([(1, False, start + piece >= len(data), part)])
        self._places = [place + 12 for place in radiograph.places()]  # behind PDU and PDV headers
        if max(self._places) + 64 > min(_HEAD, piece):
            raise ValueError("the UIDs are not in the beginning of the data set")
        self._head = bytes(framed[:_HEAD])
        self._rest = memoryview(bytes(framed))[_HEAD:]

    def under(self, message_id: int) -> tuple[str, bytes, memoryview]:
        """Return a new SOP Instance UID, the first bytes of its C-STORE, and the others."""
        uids = new_uids()
        head = bytearray(self._head)
        for place, uid in zip(self._places, uids, strict=True):
            head[place : place + len(uid)] = uid.encode()
        command = command_set(CR, _STORE, message_id, has_data_set=True, sop_instance=uids[0])
        return uids[0], p_data([(1, True, True, command)]) + bytes(head), self._rest


@dataclass(slots=True)
class Association:
    """An association for one radiograph, over which it is stored again and again."""

    port: int
    radiograph: Radiograph
    called: str = "LOBAR"
    calling: str = "BENCH"
    loads: dict[int, Load] = field(default_factory=dict)  # by longest PDU, shared
    _sender: Sender | None = None
    _message_id: int = 0

    def open(self) -> None:
        """Associate.

        Raises:
            StoreFailedError: the context is not accepted.
        """
        contexts = ((CR, self.radiograph.transfer_syntax_uid),)
        self._sender = Sender(self.port, contexts, calling=self.calling, called=self.called)
        if 1 not in self._sender.accepted:
            raise StoreFailedError("the presentation context is rejected")

    def store(self) -> str:
        """Store the radiograph once more under new UIDs, and return its SOP Instance UID.

        Raises:
            StoreFailedError: the status is not Success.
        """
        if self._sender is None:
            self.open()
        sender = self._sender
        assert sender is not None
        if sender.longest_pdu not in self.loads:
            self.loads[sender.longest_pdu] = Load(self.radiograph, sender.longest_pdu)
        self._message_id = self._message_id % 0xFFFF + 1
        uid, head, rest = self.loads[sender.longest_pdu].under(self._message_id)
        sender.socket.sendall(head)
        sender.socket.sendall(rest)
        kind, body = sender.read_pdu()
        # the last one: the ID 0x0209 of a message looks like the tag of the status
        place = body.rfind(_STATUS) + len(_STATUS)
        if kind != P_DATA or body[place : place + 2] != b"\0\0":
            raise StoreFailedError(f"PDU {kind}, status {body[place : place + 2].hex()}")
        return uid

    def close(self) -> None:
        """Release the association."""
        if self._sender is not None:
            self._sender.release()
            self._sender = None

    def abandon(self) -> None:
        """Close the connection of an association that failed."""
        if self._sender is not None:
            self._sender.socket.close()


@dataclass(slots=True)
class Sent:
    """What several associations sent together."""

    seconds: float
    answered: list[tuple[str, float]]  # SOP Instance UID, and when Success came, by time.time

    @property
    def rate(self) -> float:
        """Images a second."""
        return len(self.answered) / self.seconds


def send_for(
    seconds: float,
    radiograph: Radiograph,
    port: int,
    *,
    associations: int,
    called: str = "LOBAR",
    one_each: bool = False,
    at_most: int | None = None,
) -> Sent:
    """Send over so many associations at the same time, for so long or until so many are sent.

    Args:
        seconds: after which no further instance is begun.
        radiograph: what is sent.
        port: of the receiver.
        associations: open at the same time, each in a thread.
        called: the receiver's AE title.
        one_each: whether an association is opened for each instance, and counted.
        at_most: how many instances are sent in all.

    Raises:
        StoreFailedError: an instance was not stored.
        OSError: a connection failed.
    """
    loads: dict[int, Load] = {}
    links = [Association(port, radiograph, called=called, loads=loads) for _ in range(associations)]
    begin = threading.Barrier(associations)
    left = threading.Semaphore(1 << 40 if at_most is None else at_most)
    spans: list[tuple[float, float]] = []
    answered: list[tuple[str, float]] = []
    errors: list[Exception] = []

    def run(link: Association) -> None:
        try:
            if not one_each:
                link.open()
            begin.wait(_OPENING_SECONDS)
            began = time.perf_counter()
            while time.perf_counter() - began < seconds and left.acquire(blocking=False):
                answered.append((link.store(), time.time()))
                if one_each:
                    link.close()
            spans.append((began, time.perf_counter()))
            link.close()
        except Exception as error:  # noqa: BLE001 -- raised below, by the thread that waits
            errors.append(error)
            begin.abort()
            link.abandon()

    threads = [threading.Thread(target=run, args=[each]) for each in links]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise next((each for each in errors if not isinstance(each, _Broken)), errors[0])
    took = max(ended for _, ended in spans) - min(began for began, _ in spans)
    return Sent(took, answered)


def paced(rate: float, count: int, store: Callable[[], str]) -> list[tuple[str, float]]:
    """Store so many instances a second, each at its time; one that is late is sent at once.

    Returns:
        The SOP Instance UID of each, and when Success came, by time.time.
    """
    answered = []
    began = time.perf_counter()
    for number in range(count):
        wait = began + number / rate - time.perf_counter()
        if wait > 0:
            time.sleep(wait)
        uid = store()
        answered.append((uid, time.time()))
    return answered
