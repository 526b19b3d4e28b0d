"""Hostile instances, a sender that sends bytes as they are, and the memory of a whole service."""

import io
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from peers.raw_scu import Sender
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, generate_uid
from synthetic.objects import make_cr
from synthetic.part10 import part10

from service.dicom.element_reader import read_file_meta
from support.lobar_process import processes_of

_SAMPLE_SECONDS: Final = 0.05
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9  # ISO/IEC 10918-1 table B.1
_RESTARTS: Final = range(0xD0, 0xD8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part10:
    """A Part 10 file to send byte for byte, whatever is in its data set."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes

    @classmethod
    def of(cls, content: bytes) -> "Part10":
        """Divide a file into what its sender states and its data set."""
        stream = io.BytesIO(content)
        found = read_file_meta(stream).meta
        return cls(
            sop_class_uid=str(found.get("MediaStorageSOPClassUID", "")),
            sop_instance_uid=str(found.get("MediaStorageSOPInstanceUID", "")),
            transfer_syntax_uid=str(found.get("TransferSyntaxUID", "")),
            data_set=stream.read(),
        )

    @classmethod
    def of_dataset(cls, dataset: Dataset) -> "Part10":
        """Encode a data set that has file meta information."""
        return cls.of(part10(dataset))

    def renamed(self) -> "Part10":
        """Return the same instance under a new SOP Instance UID of the same length."""
        length = len(self.sop_instance_uid)
        uid = generate_uid()[:length].ljust(length, "1")
        return Part10(
            sop_class_uid=self.sop_class_uid,
            sop_instance_uid=uid,
            transfer_syntax_uid=self.transfer_syntax_uid,
            data_set=self.data_set.replace(self.sop_instance_uid.encode(), uid.encode()),
        )


def send(port: int, *instances: Part10) -> list[int | None]:
    """Send instances in their order over one association.

    Returns:
        The status of each; None where its presentation context was rejected.
    """
    contexts = list(
        dict.fromkeys((each.sop_class_uid, each.transfer_syntax_uid) for each in instances)
    )
    statuses: list[int | None] = []
    with Sender(port, contexts) as sender:
        for each in instances:
            place = contexts.index((each.sop_class_uid, each.transfer_syntax_uid))
            context_id = 2 * place + 1
            if context_id not in sender.accepted:
                statuses.append(None)
                continue
            uids = each.sop_class_uid, each.sop_instance_uid
            statuses.append(sender.store(*uids, each.data_set, context_id=context_id))
        sender.release()
    return statuses


def progressive_jpeg(scans: int, side: int) -> bytes:
    """Build a grey progressive JPEG that repeats its shortest scan this many times more.

    Every scan makes a decoder visit each block of the image once (ISO/IEC 10918-1 G.1), so that a
    few bytes cost it as much as a whole pass.
    """
    stream = io.BytesIO()
    grey = Image.new("L", (side, side), 128)
    grey.save(stream, "JPEG", progressive=True, quality=50)
    segments = list(_segments(stream.getvalue()))
    shortest = min(
        (each for each in segments if each[1] == _START_OF_SCAN),
        key=len,
    )
    place = segments.index(shortest) + 1
    parts = [*segments[:place], *[shortest] * scans, *segments[place:]]
    return b"\xff\xd8" + b"".join(parts) + bytes((0xFF, _END_OF_IMAGE))


def _segments(jpeg: bytes) -> Iterator[bytes]:
    """Yield each marker segment, a scan with its entropy-coded data (ISO/IEC 10918-1 B.1.1)."""
    start = 2
    while jpeg[start + 1] != _END_OF_IMAGE:
        end = start + 2 + struct.unpack_from(">H", jpeg, start + 2)[0]
        if jpeg[start + 1] == _START_OF_SCAN:
            while jpeg[end] != 0xFF or jpeg[end + 1] in {0, *_RESTARTS}:
                end += 1
        yield jpeg[start:end]
        start = end


def bomb(scans: int, side: int) -> Dataset:
    """Build an instance of a JPEG that has many more scans than any encoder writes."""
    dataset = make_cr(rows=64, columns=64, bits_stored=8)
    dataset.Rows = dataset.Columns = side
    dataset.PixelData = encapsulate([progressive_jpeg(scans, side)])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.LossyImageCompression = "01"
    dataset.LossyImageCompressionRatio = 10
    dataset.LossyImageCompressionMethod = "ISO_10918_1"
    return dataset


@dataclass(slots=True)
class Memory:
    """The greatest memory of a service while it was watched, in bytes."""

    peak: int = 0
    by_process: Mapping[str, int] = field(default_factory=dict)  # at that moment


@contextmanager
def watched_memory(state_dir: Path) -> Iterator[Memory]:
    """Sample the memory of every process of a service; shared pages are counted once (PSS)."""
    memory, ended = Memory(), threading.Event()

    def sample() -> None:
        while not ended.wait(_SAMPLE_SECONDS):
            found = memory_by_process(state_dir)
            if sum(found.values()) > memory.peak:
                memory.peak, memory.by_process = sum(found.values()), found

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield memory
    finally:
        ended.set()
        sampler.join()


def memory_by_process(state_dir: Path) -> dict[str, int]:
    """Return the PSS of each process whose environment names a state directory."""
    found = {}
    for pid in processes_of(state_dir):
        process = Path(f"/proc/{pid}")
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            pss = (process / "smaps_rollup").read_text().partition("\nPss:")[2].split()[0]
        except (OSError, IndexError):  # it ended meanwhile
            continue
        name = b" ".join(words[-3:]).decode(errors="replace").strip()
        found[f"{pid} {name}"] = int(pss) * 1024
    return found
