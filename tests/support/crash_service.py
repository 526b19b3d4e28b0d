"""The whole path of an instance in one process, which a test lets end at a crash point.

    python -m support.crash_service

For each line of JSON on standard input (see `Plan`) a fork of this process serves: a listener, an
infer and a deliver worker and retention, until the plan's folder holds a file `stop`. Then its exit
status is written to standard output. The libraries are imported once.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from service.crash_points import arm
from service.receiving.listener import Listener
from service.settings import CommitmentPeer, DicomSettings, DimseDestination
from service.storage.retention import purge
from support.inference_worker import Workspace
from support.system.ports import LOOPBACK
from workers.delivery.context import DeliveryContext
from workers.delivery.storage_commitment.respond import CommitmentResponder
from workers.delivery.worker import DeliveryWorker

SENDER: Final = "MODALITY"
_HOLDER: Final = "test/all/1/"
_TESTS: Final = Path(__file__).resolve().parents[1]
_LONG_AFTER: Final = 4_000 * 86_400.0
_QUICK: Final = {"backoff_seconds": 0.05, "maximum_backoff_seconds": 0.1}


@dataclass(frozen=True)
class Plan:
    """What one process serves, where, and at which crash point it ends."""

    folder: str
    port: int  # of the listener
    sender_port: int  # at which the sender takes results of its commitment requests
    pacs_ae_title: str
    pacs_port: int
    point: str | None = None

    def workspace(self) -> Workspace:
        """Open the stores."""
        peer = CommitmentPeer(ae_title=SENDER, host=LOOPBACK, port=self.sender_port)
        destination = DimseDestination(
            name="pacs",
            ae_title=self.pacs_ae_title,
            host=LOOPBACK,
            port=self.pacs_port,
            storage_commitment=True,
            commitment_seconds=1,
        )
        return Workspace(
            Path(self.folder) / "state",
            dicom=DicomSettings(host=LOOPBACK, port=self.port, commitment_peers=(peer,)),
            destinations=(destination,),
            deliver=_QUICK,
            infer=_QUICK,
            spool={"reserve_bytes": 0},
        )


def serve(plan: Plan) -> None:
    """Serve a plan; where it has a crash point, this process ends there."""
    folder = Path(plan.folder)
    workspace = plan.workspace()
    ledger, spool, settings = workspace.ledger, workspace.spool, workspace.settings
    ledger.release("test/")  # as the supervisor does for the process before this one
    workspace.clock.now = time.time()
    context = DeliveryContext(settings=settings, ledger=ledger, spool=spool, holder=_HOLDER)
    deliverer, responder = DeliveryWorker(context), CommitmentResponder(context)
    arm(plan.point)
    with (
        Listener(settings, spool, ledger, lambda: None),
        ThreadPoolExecutor(1) as decoders,
    ):
        worker = workspace.worker(decoders, holder=_HOLDER)
        while not (folder / "stop").exists():
            workspace.clock.now = time.time()
            if not (folder / "idle").exists():
                worker.infer_due()
                deliverer.deliver_due(settings.destinations[0])
                responder.respond_due()
            if (folder / "purge").exists():
                workspace.clock.now += _LONG_AFTER
                purge(settings, ledger, spool)
            time.sleep(0.02)
    ledger.close()


class CrashService:
    """A service of a test: a process at a time, started again when it has ended."""

    def __init__(self, server: "ForkServer", plan: Plan) -> None:
        self._server, self._plan = server, plan
        self.statuses: list[int] = []  # of the processes that ended
        server.start(plan)

    def look(self) -> None:
        """Start another process, without a crash point, if the last one has ended."""
        status = self._server.ended()
        if status is not None:
            self.statuses.append(status)
            self._server.start(Plan(**{**asdict(self._plan), "point": None}))

    def tell(self, name: str) -> None:
        """Create a file by which the service is told something."""
        (Path(self._plan.folder) / name).touch()

    def stop(self) -> None:
        """Stop the process that runs now, and wait for its end."""
        self.tell("stop")
        self.statuses.append(self._server.wait())


class ForkServer:
    """The process that imports the libraries and serves plans in forks of itself."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.crash_service"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, "PYTHONPATH": f"{_TESTS}:{_TESTS.parent / 'monai_bundle'}"},  # noqa: TID251 -- of a helper process
        )
        self._ended: SimpleQueue[int] = SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def start(self, plan: Plan) -> None:
        """Serve a plan in a new fork."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(plan)) + "\n")
        self._process.stdin.flush()

    def ended(self) -> int | None:
        """Return the exit status of the fork, None while it runs."""
        try:
            return self._ended.get(block=False)
        except Empty:
            return None

    def wait(self) -> int:
        """Wait for the end of the fork, and return its exit status."""
        return self._ended.get(timeout=60)

    def close(self) -> None:
        """End the process, and the fork that it may have."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._reader.join()
        self._log.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as statuses:
            for line in statuses:
                self._ended.put(int(line))


@contextmanager
def fork_server(log: Path) -> Iterator[ForkServer]:
    """Run a fork server while the block runs."""
    server = ForkServer(log)
    try:
        yield server
    finally:
        server.close()


def _main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the log goes with the errors
    for line in sys.stdin:
        process = os.fork()
        if process == 0:  # an error ends the fork with its traceback and another status
            serve(Plan(**json.loads(line)))
            os._exit(0)
        _, status = os.waitpid(process, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


if __name__ == "__main__":
    _main()
