"""The senders of a chaos run: DCMTK's storescu and pynetdicom, and what they were told.

A sender keeps what was not acknowledged and sends it again later, as a modality does.
"""

import hashlib
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Final

from faults.chaos.schedule import Program, SenderPlan, Step, Way
from faults.chaos.verdict import Sent, Version
from peers.dcmtk import dcmtk_store
from peers.raw_scu import Closed, Rejected, Sender, data_set_bytes
from pydicom import dcmread
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from support.system.ports import LOOPBACK
from synthetic.objects import make_cr
from synthetic.part10 import part10

from service.dicom.reactor_pause import held, install

SUCCESS: Final = 0x0000
SIDE: Final = 64  # pixels: the smallest radiograph that is analysed
_ROOT: Final = "2.25."
_DIGITS: Final = 30  # of what follows the root: every UID is as long as the template's
_PLACES: Final = {"SOPInstanceUID": 1, "StudyInstanceUID": 2, "SeriesInstanceUID": 3}
_RESPONSE: Final = re.compile(r"I: (?:Sending file: (\S+)|Received Store Response \((.*)\))")


def uid(seed: int, number: int, place: int = 1) -> str:
    """Return a UID of an instance of a run: of itself, of its study or of its series."""
    return f"{_ROOT}{place}{seed % 10**9:09d}{number:0{_DIGITS - 10}d}"


def accession(version: int) -> str:
    """Return the accession number that tells the versions of an instance apart in their reports."""
    return f"VERSION-{version}"


class Instances:
    """Makes the bytes of each version of each instance, from one small template."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._files = {in_scope: self._template(in_scope) for in_scope in (True, False)}

    def version(self, step: Step) -> Version:
        """Return what identifies the bytes of a step."""
        return uid(self._seed, step.number), step.version

    def file(self, step: Step) -> bytes:
        """Return a version of an instance as a Part 10 file."""
        file = self._files[step.in_scope]
        for place in _PLACES.values():
            file = file.replace(
                uid(0, 0, place).encode(), uid(self._seed, step.number, place).encode()
            )
        return file.replace(accession(0).encode(), accession(step.version).encode())

    def _template(self, in_scope: bool) -> bytes:  # noqa: FBT001 -- a key of a table
        dataset = make_cr(rows=SIDE, columns=SIDE)
        for keyword, place in _PLACES.items():
            setattr(dataset, keyword, uid(0, 0, place))
        dataset.file_meta.MediaStorageSOPInstanceUID = UID(uid(0, 0))
        dataset.AccessionNumber = accession(0)
        if not in_scope:
            dataset.ViewPosition = "LL"
        return part10(dataset)


class Book:
    """What all senders sent and were told; safe to use in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._acknowledged: dict[Version, bool] = {}
        self._in_scope: dict[Version, bool] = {}
        self.transfers: Counter[str] = Counter()  # by way, each try
        self.responses: Counter[str] = Counter()  # by what was answered
        self.given_up = 0
        self.latest_success = time.monotonic()

    def sending(self, version: Version, step: Step) -> None:
        """Note that the first byte of a version may leave now."""
        with self._lock:
            self._acknowledged.setdefault(version, False)
            self._in_scope[version] = step.in_scope
            self.transfers[step.way] += 1

    def answered(self, version: Version, response: str) -> None:
        """Note a response, in hexadecimal as a status, or in words where there was none."""
        with self._lock:
            self.responses[response] += 1
            if response == _in_words(SUCCESS):
                self._acknowledged[version] = True
                self.latest_success = time.monotonic()

    def gave_up(self) -> None:
        """Note that a sender does not try again."""
        with self._lock:
            self.given_up += 1

    def sent(self) -> list[Sent]:
        """Return what was sent, for the verdict."""
        with self._lock:
            return [
                Sent(version=version, acknowledged=known, in_scope=self._in_scope[version])
                for version, known in self._acknowledged.items()
            ]


def _in_words(status: int) -> str:
    return f"0x{status:04X}"


NO_ASSOCIATION: Final = "no association"
NO_RESPONSE: Final = "no response"
ABORTED: Final = "aborted by the sender"
Unanswered = list[Step]


class ChaosSender(threading.Thread):
    """A sender: takes its associations in order, and later again what was not acknowledged."""

    def __init__(
        self,
        plan: SenderPlan,
        *,
        instances: Instances,
        book: Book,
        port: int,
        folder: Path,
        wait_for_turn: Callable[[float], bool],
    ) -> None:
        super().__init__(name=plan.name, daemon=True)
        self._plan = plan
        self._instances = instances
        self._book = book
        self._port = port
        self._folder = folder
        self._wait_for_turn = wait_for_turn  # of a share of the whole; false: the run is over
        folder.mkdir()

    def run(self) -> None:
        """Send everything, until it is acknowledged or given up, or the run is over."""
        waiting: list[Step] = []
        for number, steps in enumerate(self._plan.associations):
            if not self._wait_for_turn(number / len(self._plan.associations)):
                return
            waiting = self._send([*waiting, *steps], keeps=waiting)
        pause = 0.5
        while waiting:
            time.sleep(pause)
            pause = min(2 * pause, 5)
            if not self._wait_for_turn(1):
                return
            waiting = self._send(waiting, keeps=waiting)

    def _send(self, steps: Sequence[Step], keeps: Sequence[Step]) -> list[Step]:
        """Send what was planned and what was kept; return what is to be sent again."""
        for step in steps:
            if step.is_aborted and step not in keeps:
                self._abort(step)
        by_version = {(each.number, each.version): each for each in reversed(steps)}
        distinct = list(by_version.values())[::-1]
        if self._plan.program is Program.DCMTK:
            unanswered = self._send_with_dcmtk(distinct)
        else:
            unanswered = self._send_with_pynetdicom(distinct)
        again = [step for step in unanswered if not step.gives_up]
        for _ in range(len(unanswered) - len(again)):
            self._book.gave_up()
        return again

    def _send_with_pynetdicom(self, steps: Sequence[Step]) -> Unanswered:
        ae = AE(ae_title=self._plan.name)
        ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = 10, 30, 30
        ae.connection_timeout = 5
        ae.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
        association = ae.associate(LOOPBACK, self._port, ae_title="LOBAR")
        unanswered = list(steps)
        for step in steps:
            if not association.is_established:
                break
            install(association)
            version = self._instances.version(step)
            dataset = dcmread(BytesIO(self._instances.file(step)))
            self._book.sending(version, step)
            try:
                with held(association):
                    status = association.send_c_store(dataset).get("Status")
            except (RuntimeError, ValueError):  # the association ended in the meantime
                status = None
            self._book.answered(version, NO_RESPONSE if status is None else _in_words(status))
            if status == SUCCESS:
                unanswered.remove(step)
        else:
            association.release()
            return unanswered
        self._book.answered(("", 0), NO_ASSOCIATION)
        return unanswered

    def _send_with_dcmtk(self, steps: Sequence[Step]) -> Unanswered:
        files = {}
        for step in steps:
            path = self._folder / f"{step.number}-{step.version}.dcm"
            path.write_bytes(self._instances.file(step))
            files[str(path)] = step
            self._book.sending(self._instances.version(step), step)
        try:
            done = dcmtk_store(
                self._port, "LOBAR", [*map(Path, files)], "--no-halt", "-aet", self._plan.name
            )
            output = done.stdout + done.stderr
        except subprocess.TimeoutExpired as expired:
            output = b"".join((expired.stdout or b"", expired.stderr or b"")).decode()
        if "Association Accepted" not in output:
            self._book.answered(("", 0), NO_ASSOCIATION)
        responses = responses_of_storescu(output)
        unanswered = []
        for name, step in files.items():
            Path(name).unlink()
            response = responses.get(name)
            if response is not None:
                self._book.answered(self._instances.version(step), response)
            if response != _in_words(SUCCESS):
                unanswered.append(step)
        return unanswered

    def _abort(self, step: Step) -> None:
        """Begin to send a version and abort, or close the connection, in the middle of it."""
        contexts = [(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)]
        version = self._instances.version(step)
        encoded = data_set_bytes(dcmread(BytesIO(self._instances.file(step))))
        self._book.sending(version, step)
        try:
            with Sender(self._port, contexts, calling=self._plan.name) as sender:
                sender.begin_store(ComputedRadiographyImageStorage, version[0])
                half = encoded[: len(encoded) // 2]
                sender.send_fragments(1, half, is_command=False, size=2000, is_whole=False)
                if step.number % 2:
                    sender.abort()
        except (Closed, Rejected, OSError):
            pass  # the listener was not there to be aborted
        self._book.answered(version, ABORTED)


def responses_of_storescu(output: str) -> dict[str, str]:
    """Read which file was answered what, by the verbose output of DCMTK's storescu."""
    responses, file = {}, ""
    for line in output.splitlines():
        found = _RESPONSE.match(line)
        if found and found[1]:
            file = found[1]
            responses[file] = NO_RESPONSE
        elif found and file:
            responses[file] = _in_words(SUCCESS) if found[2] == "Success" else found[2]
    return responses


def digest(encoded: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(encoded).hexdigest()


__all__ = [
    "Book",
    "ChaosSender",
    "Instances",
    "Way",
    "accession",
    "digest",
    "responses_of_storescu",
    "uid",
]
