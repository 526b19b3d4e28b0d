"""A web server in a process of its own, which a test floods."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import httpx

from service.health_check import LIVE, ask
from support.lobar_process import wait_for
from support.system.http import HTTP
from support.system.ports import LOOPBACK, free_port

ROOT: Final = Path(__file__).resolve().parents[2]
SERVING: Final = """
import sys
from pathlib import Path
from service.receiving.ingest import Ingest
from service.settings import Settings
from service.storage.opening import open_stores
from service.web.serve import serve
settings = Settings(
    state_dir=Path(sys.argv[1]),
    web={"port": int(sys.argv[2]), "head_seconds": 3},
    health={"port": int(sys.argv[3])},
    spool={"reserve_bytes": 0},
)
with open_stores(settings) as (ledger, spool):
    serve(settings, ledger, spool, Ingest(spool, ledger, lambda: None), None, None)
"""


class FloodedServer:
    """The web server alone: no other part runs, and it says so when it is asked."""

    def __init__(self, folder: Path) -> None:
        self.port, self.health_port = free_port(), free_port()
        self.socket = folder / "state" / "health.sock"
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", SERVING),
                *(folder / "state", str(self.port), str(self.health_port)),
            ],
            cwd=ROOT,
        )
        try:
            wait_for(self.is_live)
        except BaseException:
            self.stop()
            raise
        self.not_ready = ask(self.socket)
        self.sockets_at_rest = self.sockets()

    def is_live(self) -> bool:
        try:
            return self.get("/health/live").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def get(self, path: str) -> httpx.Response:
        return HTTP.get(f"http://{LOOPBACK}:{self.port}{path}", headers={"Connection": "close"})

    def sockets(self) -> int:
        """Return how many sockets are open; files are the ledger's, which keeps some open."""
        names = []
        for descriptor in Path(f"/proc/{self._process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                names.append(str(descriptor.readlink()))
        return sum(name.startswith("socket:") for name in names)

    def is_at_rest(self) -> bool:
        """Whether no more sockets are open than before any client came."""
        return self.sockets() <= self.sockets_at_rest + 1  # the last request's

    def ended(self, reason: str) -> float:
        """Return how many connections the server has ended for this reason."""
        name = f'lobar_web_connections_ended_total{{reason="{reason}"}} '
        lines = self.get("/metrics").text.splitlines()
        return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    def requires_answers(self) -> None:
        """Require that a person, an orchestrator and a scraper are answered, on each address."""
        page = self.get("/")
        assert (page.status_code, "<h1" in page.text) == (200, True)
        assert self.get("/health/live").json() == {"live": True}
        ready = self.get("/health/ready")
        assert (ready.status_code, ready.json()["ready"]) == (503, False), "no other part runs"
        assert "lobar_balance 0.0" in self.get("/metrics").text
        assert ask(self.socket, LIVE) == (0, "live")
        assert ask(self.socket) == self.not_ready
        metrics = HTTP.get(f"http://{LOOPBACK}:{self.health_port}/metrics")
        assert "lobar_balance 0.0" in metrics.text

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(30)
        finally:
            self._process.kill()
            self._process.wait()
