"""How many associations may be open: in total, with one calling AE title, from one address.

The listeners of a machine that accept from the same sockets share the count: an association is a
slot in memory that all of them have. What a listener that was killed held, the next one that takes
its number gives back.
"""

import fcntl
import hashlib
import mmap
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from service.receiving.listener.refusals import Refused
from service.receiving.shared_listening import Sharing
from service.settings import DicomSettings

_KEY_BYTES: Final = 8  # of a digest: titles and networks are the peers' choice, and of any length
_SLOT_BYTES: Final = 1 + 2 * _KEY_BYTES  # number of the listener, AE title, network
_FREE: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Requestor:
    """Who requests an association, as far as it is counted."""

    ae_title: str
    network: str


class AssociationLimits:
    """The associations that are open, from their request to the end of their threads.

    Args:
        dicom: the limits.
        sharing: what this listener shares with others; None counts for itself alone.
    """

    def __init__(self, dicom: DicomSettings, sharing: Sharing | None = None) -> None:
        self._most_of_ae = dicom.maximum_associations_per_ae
        self._most_of_address = dicom.maximum_associations_per_address
        self._number = 1 if sharing is None else sharing.number
        self._others = [] if sharing is None else sharing.others()
        self._descriptor = None if sharing is None else sharing.memory
        self._slots = range(0, dicom.maximum_associations * _SLOT_BYTES, _SLOT_BYTES)
        length = len(self._slots) * _SLOT_BYTES
        self._memory = mmap.mmap(-1 if self._descriptor is None else self._descriptor, length)
        self._changing = threading.Lock()
        with self._locked():
            for slot in self._slots:
                if self._memory[slot] == self._number:  # of one before this that was killed
                    self._memory[slot] = _FREE

    def take(self, requestor: Requestor) -> Refused | None:
        """Count an association, or return the limit that it would exceed.

        A limit of its own comes first, because waiting for others does not help there.
        """
        ae_title, network = _keys(requestor)
        with self._locked():
            taken = [self._keys_at(slot) for slot in self._slots if self._memory[slot] != _FREE]
            if sum(key[0] == ae_title for key in taken) >= self._most_of_ae:
                return Refused.AE_TITLE_LIMIT
            if sum(key[1] == network for key in taken) >= self._most_of_address:
                return Refused.ADDRESS_LIMIT
            free = next((slot for slot in self._slots if self._memory[slot] == _FREE), None)
            if free is None:
                return Refused.LIMIT
            self._memory[free + 1 : free + _SLOT_BYTES] = ae_title + network
            self._memory[free] = self._number
        return None

    def give_back(self, requestor: Requestor) -> None:
        """Count an association no more."""
        mine = bytes([self._number]) + b"".join(_keys(requestor))
        with self._locked():
            for slot in self._slots:
                if self._memory[slot : slot + _SLOT_BYTES] == mine:
                    self._memory[slot] = _FREE
                    return

    def is_ahead(self) -> bool:
        """Return whether another listener has fewer associations than this one."""
        if not self._others:
            return False
        held = Counter(self._memory[slot] for slot in self._slots)  # a moment ago will do
        return held[self._number] > min(held[other] for other in self._others)

    def _keys_at(self, slot: int) -> tuple[bytes, bytes]:
        begin, middle = slot + 1, slot + 1 + _KEY_BYTES
        return self._memory[begin:middle], self._memory[middle : middle + _KEY_BYTES]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let no other thread and no other listener count; a lock dies with its process."""
        with self._changing:
            if self._descriptor is None:
                yield
                return
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


def _keys(requestor: Requestor) -> tuple[bytes, bytes]:
    return _digest(requestor.ae_title), _digest(requestor.network)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=_KEY_BYTES).digest()
