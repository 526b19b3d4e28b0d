"""What the listener takes for an instance: its processor time, and instances a second.

PYTHONPATH=tests .venv/bin/python -m bench.receiving --associations 1 4 16

A real `lobar listener` receives synthetic instances of 0.68 MB (JPEG 2000, of random bytes) and
7.2 MB from threads of this process. Processor time is the listener's own and says more than the
clock where other programs run. `--set LEDGER__RECEIVED_AT_ONCE=1` turns a setting off.
"""

import argparse
import os
import socket
import tempfile
import threading
import time
from itertools import count
from pathlib import Path

from peers.raw_scu import Sender, command_set, data_set_bytes, p_data
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless
from support.listener_process import ListenerProcess
from synthetic.objects import make_cr

from service.dicom.statuses import SUCCESS

_UID = "1.2.826.0.1.3680043.8.498.1{:010d}"
_PIECE_BYTES = (128 << 10) - 6  # a fragment that fills a PDU of 128 KiB
_SMALL, _LARGE = 680 << 10, 7200 << 10
_TICKS = os.sysconf("SC_CLK_TCK")


class Instances:
    """Encoded instances of one size, each with a UID of its own."""

    def __init__(self, size: int) -> None:
        dataset = make_cr(rows=8, columns=8)
        self.sop_class = str(dataset.SOPClassUID)
        syntax = JPEG2000Lossless if size == _SMALL else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax
        self.syntax = str(syntax)
        if size == _SMALL:
            dataset.PixelData = encapsulate([os.urandom(size)])
            dataset["PixelData"].VR = "OB"
            dataset["PixelData"].is_undefined_length = True
        else:
            dataset.Rows, dataset.Columns = 1800, size // 1800 // 2
            dataset.PixelData = os.urandom(dataset.Rows * dataset.Columns * 2)
        dataset.SOPInstanceUID = _UID.format(0)
        self._encoded = data_set_bytes(dataset)
        self._at = self._encoded.index(_UID.format(0).encode())
        self._numbers = count(1)
        self._counting = threading.Lock()

    def next(self, message_id: int) -> bytes:
        """Return the PDUs of a C-STORE."""
        with self._counting:
            uid = _UID.format(next(self._numbers))
        command = command_set(
            self.sop_class, 0x0001, message_id, has_data_set=True, sop_instance=uid
        )
        end = self._at + len(uid)
        whole = self._encoded[: self._at] + uid.encode() + self._encoded[end:]
        pieces = [whole[at : at + _PIECE_BYTES] for at in range(0, len(whole), _PIECE_BYTES)]
        fragments = [
            p_data([(1, False, number == len(pieces), piece)])
            for number, piece in enumerate(pieces, 1)
        ]
        return b"".join((p_data([(1, True, True, command)]), *fragments))


def store(port: int, instances: Instances, number: int) -> None:
    """Store so many instances on one association."""
    with Sender(port, ((instances.sop_class, instances.syntax),)) as sender:
        sender.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(number):
            sender._message_id += 1  # as its own `store`, whose encoding would be timed too
            sender.socket.sendall(instances.next(sender._message_id))
            if sender.status() != SUCCESS:
                raise SystemExit("an instance was not taken")
        sender.release()


def store_all(port: int, instances: Instances, associations: int, number: int) -> None:
    """Store instances on several associations at once."""
    each = [
        threading.Thread(target=store, args=(port, instances, number)) for _ in range(associations)
    ]
    for thread in each:
        thread.start()
    for thread in each:
        thread.join()


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def measure(size: int, associations: int, number: int, settings: list[str]) -> str:
    """Receive with a listener of its own; return a line with what it took."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        prefix = ["env", *(f"LOBAR_{each}" for each in settings)]
        listener = ListenerProcess(Path(folder), prefix=prefix)
        listener.start()
        try:
            instances = Instances(size)
            store_all(listener.port, instances, associations, 4)  # so that all is loaded
            before, began = processor_seconds(listener.pid), time.perf_counter()
            store_all(listener.port, instances, associations, number)
            seconds = time.perf_counter() - began
            spent = processor_seconds(listener.pid) - before
        finally:
            listener.stop()
    total = associations * number
    return (
        f"{size / 2**20:5.2f} MiB {associations:3d} associations  {total / seconds:6.0f} a second  "
        f"{1000 * spent / total:5.2f} ms of the listener each"
    )


def main() -> None:
    """Print a line for each size and number of associations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--instances", type=int, default=192, help="small ones in a round")
    parser.add_argument("--set", nargs="+", default=[], help="settings, without LOBAR_")
    asked = parser.parse_args()
    for size, number in ((_SMALL, asked.instances), (_LARGE, asked.instances // 6)):
        for associations in asked.associations:
            for _ in range(asked.rounds):
                print(measure(size, associations, max(1, number // associations), asked.set))


if __name__ == "__main__":
    main()
