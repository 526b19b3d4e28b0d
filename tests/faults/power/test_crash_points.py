"""A process dies at each crash point: its instance is neither lost nor doubled."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from peers.committing_pacs import CLASS, INSTANCE, CommittingPacs, referenced
from peers.raw_scu import Closed, Rejected, data_set_bytes
from peers.raw_scu import Sender as Scu
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from support.crash_service import SENDER, CrashService, ForkServer, Plan, fork_server
from support.listener import CR, CR_EXPLICIT
from support.system.ports import LOOPBACK, accepts_connections, free_port
from synthetic.objects import make_cr

from service.crash_points import CrashPoint
from service.dicom.reactor_pause import held, install
from service.dicom.statuses import SUCCESS
from service.dicom.storage_commitment import new_transaction_uid
from service.domain.job import JobState
from service.errors import EX_CONFIG
from service.settings import environment_without_settings
from service.storage.ledger import Ledger
from service.supervision.supervisor import lobar_command

# the stand-ins for peers meet associations that end in the middle of a message
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),
]

SECONDS: Final = 120  # generous, for a loaded machine
COMMITTED: Final = 1  # the event type of a result without failures (PS3.4 table J.3-5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with fork_server(tmp_path_factory.mktemp("crashes") / "log") as running:
        yield running


@dataclass
class Sender:
    """A modality that sends an instance and asks for its commitment until both are answered."""

    service: CrashService
    port: int  # of the listener
    dataset: Dataset = field(default_factory=lambda: make_cr(rows=32, columns=32))

    def until(self, done: Callable[[], bool]) -> None:
        """Try again until something is done; each process that has ended is followed by another."""
        deadline = time.monotonic() + SECONDS
        while not done():
            assert time.monotonic() < deadline, self.service.statuses
            self.service.look()
            time.sleep(0.02)

    def store(self) -> None:
        """Store the instance, as often as it takes to be answered Success."""
        self.until(lambda: self._store() == SUCCESS)

    def ask(self) -> None:
        """Ask for commitment, each time under a new Transaction UID, until that is accepted."""
        self.until(lambda: self._ask() == SUCCESS)

    def _store(self) -> int | None:
        with (
            contextlib.suppress(OSError, Closed, Rejected),
            Scu(self.port, CR_EXPLICIT, calling=SENDER) as association,
        ):
            return association.store(CR, self.dataset.SOPInstanceUID, data_set_bytes(self.dataset))
        return None

    def _ask(self) -> int | None:
        ae = AE(ae_title=SENDER)
        ae.add_requested_context(CLASS, "1.2.840.10008.1.2.1")
        association = ae.associate(LOOPBACK, self.port, ae_title="LOBAR")
        if not association.is_established:
            return None
        information = Dataset()
        information.TransactionUID = new_transaction_uid()
        information.ReferencedSOPSequence = [referenced(CR, str(self.dataset.SOPInstanceUID))]
        install(association)
        with held(association):
            response, _ = association.send_n_action(information, 1, CLASS, INSTANCE)
        association.release()
        return response.get("Status")


@dataclass
class Results:
    """The results of a sender's requests for commitment, which it takes at a port of its own."""

    port: int = field(default_factory=free_port)
    event_types: list[int] = field(default_factory=list)

    @contextmanager
    def taken(self) -> Iterator["Results"]:
        """Take them while the block runs."""
        ae = AE(ae_title=SENDER)
        ae.add_supported_context(CLASS, scu_role=True, scp_role=True)
        server = ae.start_server(
            (LOOPBACK, self.port),
            block=False,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._take)],
        )
        assert server is not None
        yield self
        server.shutdown()

    def _take(self, event: Any) -> tuple[int, None]:  # noqa: ANN401 -- pynetdicom's
        self.event_types.append(event.event_type)
        return SUCCESS, None


@dataclass(frozen=True)
class Peers:
    """The destination, and the sender as one that takes results."""

    pacs: CommittingPacs
    results: Results


@pytest.fixture(scope="module")
def peers() -> Iterator[Peers]:
    with CommittingPacs().running() as pacs, Results().taken() as results:
        assert isinstance(pacs, CommittingPacs)
        yield Peers(pacs, results)


def lose_bytes(sender: Sender, ledger: Ledger, plan: Plan) -> None:
    """Have the job parked because its bytes are gone: storing it again restores them."""
    (Path(plan.folder) / "idle").touch()
    sender.store()
    (inbox,) = (Path(plan.folder) / "state" / "spool" / "inbox").glob("??/*.dcm")
    inbox.unlink()
    (Path(plan.folder) / "idle").unlink()
    sender.until(lambda: ledger.queries.job_counts().by_state[JobState.PARKED] == 1)


@pytest.mark.parametrize("point", CrashPoint)
def test_an_instance_ends_in_one_outcome(
    point: CrashPoint, server: ForkServer, peers: Peers, tmp_path: Path
) -> None:
    pacs, results = peers.pacs, peers.results.event_types
    pacs.received.clear()
    results.clear()
    plan = Plan(str(tmp_path), free_port(), peers.results.port, pacs.ae_title, pacs.port, point)
    workspace = plan.workspace()
    ledger = workspace.ledger
    service = CrashService(server, plan)
    sender = Sender(service, plan.port)
    if point is CrashPoint.RECEIVE_RESTORED:
        lose_bytes(sender, ledger, plan)
    sender.store()
    sender.ask()
    sender.until(lambda: ledger.queries.job_counts().by_state[JobState.DELIVERED] == 1)
    sender.until(lambda: bool(results))
    service.tell("purge")
    sender.until(lambda: ledger.queries.job_counts().forgotten == 1)
    sender.until(lambda: service.statuses != [])
    service.stop()
    assert service.statuses == [-signal.SIGKILL, 0], "it died there, and only there"
    assert len(set(pacs.received)) == 2, "a report and an overlay, of the same bytes each time"
    assert set(results) == {COMMITTED}
    counts = ledger.queries.job_counts()
    assert (counts.received, counts.balance) == (1, 0)
    workspace.spool.sweep(ledger.jobs.known, older_than_seconds=0)
    left = [path.name for path in workspace.spool.root.rglob("*") if path.is_file()]
    assert left == ["retention.lock"], "and no file of the instance"
    ledger.close()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment for a part of the service that is started by itself."""
    return {
        **environment_without_settings(),
        "LOBAR_STATE_DIR": str(tmp_path / "state"),
        "LOBAR_SPOOL__RESERVE_BYTES": "0",
        "LOBAR_DICOM__PORT": str(free_port()),
        "LOBAR_REDIS__URL": f"redis://{LOOPBACK}:{free_port()}/0",  # none answers there
    }


def test_a_part_ends_where_the_environment_says(
    environment: dict[str, str], tmp_path: Path
) -> None:
    port, log = int(environment["LOBAR_DICOM__PORT"]), tmp_path / "log"
    with log.open("wb") as stream:
        part = subprocess.Popen(
            [*lobar_command(), "listener"],
            env={**environment, "LOBAR_CRASH_AT": "receive.recorded:2"},
            cwd=tmp_path,
            stdout=stream,
            stderr=stream,
        )
    try:
        deadline = time.monotonic() + SECONDS
        while not accepts_connections(port):
            assert part.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        first, second = (make_cr(rows=8, columns=8) for _ in range(2))
        with Scu(port, CR_EXPLICIT) as association:
            assert association.store(CR, first.SOPInstanceUID, data_set_bytes(first)) == SUCCESS
            with pytest.raises((Closed, OSError)):
                association.store(CR, second.SOPInstanceUID, data_set_bytes(second))
        assert part.wait(SECONDS) == -signal.SIGKILL
    finally:
        part.kill()
        part.wait()
    assert "crash_point_armed" in log.read_text()


def test_a_part_does_not_start_with_a_name_that_is_none(
    environment: dict[str, str], tmp_path: Path
) -> None:
    variables = {**environment, "LOBAR_CRASH_AT": "receive.nowhere"}
    done = subprocess.run(
        [*lobar_command(), "relay"],
        env=variables,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == EX_CONFIG
    (line,) = done.stderr.splitlines()
    assert "LOBAR_CRASH_AT='receive.nowhere' names no crash point" in line
