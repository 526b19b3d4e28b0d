"""`lobar up` in a process of its own, queried and stopped from outside."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from service.domain.job import Job, JobState
from service.storage.ledger import Ledger
from support.open_gate import bundle_with_open_gate
from support.system.http import HTTP
from support.system.ports import LOOPBACK, free_port
from support.system.process import Server

AE_TITLE: Final = "LOBAR"
SETTLED: Final = frozenset({JobState.DELIVERED, JobState.NOT_ANALYSED, JobState.PARKED})
# The engine of a bundle is looked for once by whatever service is the first to need it.
ENGINES: Final = Path(sys.prefix) / "lobar-test-engines"
SETTLE_SECONDS: Final = 120  # a bound against hanging, not a promise
# What training and tests need. An installed Lobar lacks them; where they are there, MONAI and
# pydicom import them, which takes a process longer than all the rest of both.
NOT_REQUIRED: Final = (
    *("gdcm", "ignite", "jsonschema", "matplotlib", "requests", "scipy", "skimage"),
)


class LobarService:
    """A whole service with a state directory and ports of its own.

    The gate of its bundle is open, because most instances that tests send are synthetic.
    """

    ae_title: Final = AE_TITLE
    host: Final = LOOPBACK

    def __init__(
        self, folder: Path, destinations: Sequence[dict[str, Any]] = (), **settings: str
    ) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        self.dicom_port = int(settings.get("LOBAR_DICOM__PORT") or free_port())
        self.web_port = free_port()
        self.url = f"http://{LOOPBACK}:{self.web_port}"
        configuration = folder / "lobar.toml"
        configuration.touch()
        self.environment = {
            "LOBAR_CONFIG": str(configuration),
            "LOBAR_STATE_DIR": str(self.state_dir),
            "LOBAR_DICOM__PORT": str(self.dicom_port),
            "LOBAR_WEB__PORT": str(self.web_port),
            "LOBAR_BUNDLE__PATH": str(bundle_with_open_gate(folder)),
            "LOBAR_BUNDLE__ENGINES": str(ENGINES),
            "PYTHONPATH": str(folder_that_hides(NOT_REQUIRED, folder)),
            "LOBAR_SPOOL__RESERVE_BYTES": "0",
            "LOBAR_DELIVER__BACKOFF_SECONDS": "0.5",
            "LOBAR_DELIVER__MAXIMUM_BACKOFF_SECONDS": "2",
            "LOBAR_INFER__BACKOFF_SECONDS": "0.2",
            "LOBAR_DESTINATIONS": json.dumps(list(destinations)),
            **settings,
        }
        self._prepare_server()

    def _prepare_server(self) -> None:
        self._server = Server(
            [*self.command_prefix(), sys.executable, "-m", "service.cli", "up"],
            log=self.folder / "lobar.log",
            answers=self.is_ready,
        )
        self.start = self._server.start
        self.stop = self._server.stop
        self.kill = self._server.kill
        self.log = self._server.log

    def set(self, **settings: str) -> None:
        """Change settings of a stopped service; they apply when it is started again."""
        self.environment |= settings
        self._prepare_server()

    def command_prefix(self) -> list[str]:
        """Return the beginning of a command line that sets this service's configuration."""
        return ["env", *(f"{name}={value}" for name, value in self.environment.items())]

    @property
    def pid(self) -> int:
        """Process id of the supervisor."""
        return self._server.pid

    def is_ready(self) -> bool:
        """Whether /health/ready answers 200."""
        try:
            return HTTP.get(f"{self.url}/health/ready").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def wait_until_ready(self) -> None:
        """Wait until every part is ready, after one was killed."""
        wait_for(self.is_ready)

    def ledger(self) -> Ledger:
        """Open the ledger. The caller closes it."""
        url = self.environment.get("LOBAR_LEDGER__URL")
        return Ledger(url or f"sqlite:///{self.state_dir}/ledger.sqlite3")

    def jobs(self, sop_instance_uid: str) -> list[Job]:
        """Return the jobs of an instance."""
        return self._query(lambda ledger: _jobs(ledger, sop_instance_uid))

    def all_jobs(self) -> list[Job]:
        """Return the most recent jobs, up to a thousand."""
        jobs: list[Job] = self._query(lambda ledger: ledger.queries.recent(1000))
        return jobs

    def settled(self, sop_instance_uid: str) -> Job:
        """Wait until the one job of an instance has finished, and return it."""

        def job(ledger: Ledger) -> Job | None:
            found = _jobs(ledger, sop_instance_uid)
            assert len(found) <= 1, found
            return found[0] if found and found[0].state in SETTLED else None

        # opening a ledger takes longer than the query, and there is one every few milliseconds
        return self._query(lambda ledger: wait_for(lambda: job(ledger)))

    def balance(self) -> int:
        """Return jobs received less jobs accounted for: zero at every moment."""
        return self._query(lambda ledger: ledger.queries.job_counts().balance)

    def part(self, role: str) -> int:
        """Wait until a part is running, and return its process id."""

        def pid(ledger: Ledger) -> int | None:
            beats = ledger.heartbeats.alive(20)
            pids = [int(beat.holder.split("/")[2]) for beat in beats if beat.role == role]
            return next((each for each in pids if _is_running(each)), None)

        return self._query(lambda ledger: wait_for(lambda: pid(ledger)))

    def kill_part(self, role: str) -> None:
        """Kill a part with SIGKILL; the supervisor starts another."""
        os.kill(self.part(role), signal.SIGKILL)

    def metrics(self) -> dict[str, float]:
        """Read /metrics as {name{labels}: value}."""
        lines = HTTP.get(f"{self.url}/metrics").raise_for_status().text.splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in samples}

    def _query(self, question: Callable[[Ledger], Any]) -> Any:  # noqa: ANN401 -- any result
        ledger = self.ledger()
        try:
            return question(ledger)
        finally:
            ledger.close()


def wait_for(question: Callable[[], Any], seconds: float = SETTLE_SECONDS) -> Any:  # noqa: ANN401 -- any result
    """Call `question` until its result is true, and return it; fail the test after `seconds`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if answer := question():
            return answer
        time.sleep(0.05)
    pytest.fail(f"still false after {seconds} s", pytrace=True)


def folder_that_hides(packages: Sequence[str], folder: Path) -> Path:
    """Make a folder for PYTHONPATH in which these packages are modules that cannot be imported."""
    hiding = folder / "hiding"
    hiding.mkdir()
    for name in packages:
        (hiding / f"{name}.py").write_text("raise ImportError('not a requirement of Lobar')")
    return hiding


def processes_of(folder: Path) -> list[int]:
    """List the running processes whose environment names this folder, such as a state directory."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(folder).encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
        except OSError:
            continue
    return found


def _jobs(ledger: Ledger, sop_instance_uid: str) -> list[Job]:
    found = ledger.queries.find(sop_instance_uid)
    return [job for job in found if job.sop_instance_uid == sop_instance_uid]


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends meanwhile
        return False


def destination(peer: Any, name: str, **options: object) -> dict[str, object]:  # noqa: ANN401 -- any peer with an address
    """Return the setting that makes a peer a destination of the service."""
    port = getattr(peer, "dicom_port", None) or peer.port
    return {
        "name": name,
        "ae_title": peer.ae_title,
        "host": peer.host,
        "port": port,
        **options,
    }


@pytest.fixture
def lobar_service(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., LobarService]]:
    """`lobar_service(destinations, **settings)` starts a service for this test alone."""
    services: list[LobarService] = []

    def start(destinations: Sequence[dict[str, Any]] = (), **settings: str) -> LobarService:
        service = LobarService(tmp_path_factory.mktemp("lobar"), destinations, **settings)
        services.append(service)
        service.start()
        return service

    yield start
    for service in services:
        service.kill()
