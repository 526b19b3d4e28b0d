"""A PostgreSQL cluster for the tests, without any network, and an empty database per test."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_interface
from itertools import count
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from psycopg import sql
from support.system.process import Server
from support.system.programs import need_program

_END_SECONDS: Final = 60  # a bound against hanging


class PostgreSQLServer:
    """A throw-away cluster that listens on a Unix socket in its own folder, and nowhere else.

    With `enter` and `address` also there: `enter` is the beginning of a command line that runs on a
    host of a test's own network, of which `address` is one, such as 10.0.0.1/24. With `is_durable`
    it syncs what it commits, as in use.
    """

    def __init__(
        self,
        folder: Path,
        *,
        enter: Sequence[str] = (),
        address: str = "",
        is_durable: bool = False,
    ) -> None:
        self.folder = folder
        self._address, _, _ = address.partition("/")
        data = folder / "data"
        as_owner = _as_unprivileged_owner(folder)
        subprocess.run(
            [
                *(*as_owner, need_program("initdb"), "--pgdata", data, "--username", "lobar"),
                *("--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync"),
            ],
            check=True,
            capture_output=True,
        )
        if address:
            with (data / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {ip_interface(address).network} trust\n")
        # fsync is off for speed: a killed server still finds its commits in the page cache.
        # synchronous_commit stays on, since without it a killed server loses commits.
        command = [
            *(*enter, *as_owner, need_program("postgres"), "-D", data, "-k", folder),
            *("-c", f"listen_addresses={self._address}", "-c", "shared_buffers=32MB"),
            *("-c", "max_connections=200"),
            *(() if is_durable else ("-c", "fsync=off", "-c", "full_page_writes=off")),
        ]
        self._server = Server(
            command,
            log=folder / "postgresql.log",
            answers=self._answers,
            stop_signal=signal.SIGINT,  # the fast shutdown: clients are disconnected
        )
        self._numbers = count(1)
        self.start = self._server.start
        self.stop = self._server.stop

    @property
    def pid(self) -> int:
        """The process id."""
        return self._server.pid

    def kill(self) -> None:
        """Kill the server with SIGKILL, and wait for its processes, which end a moment later.

        Until then they hold its shared memory, and it would not start again.
        """
        processes: list[psutil.Process] = []
        if self._server.running:
            with suppress(psutil.NoSuchProcess):
                processes = psutil.Process(self.pid).children(recursive=True)
        self._server.kill()
        psutil.wait_procs(processes, timeout=_END_SECONDS)

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database of this cluster, by its Unix socket."""
        return f"postgresql+psycopg://lobar@/{database}?host={self.folder}"

    def network_url(self, database: str) -> str:
        """The URL of a database of this cluster for the hosts of its network."""
        return f"postgresql://lobar@{self._address}/{database}?connect_timeout=5"

    def create_database(self, encoding: str = "UTF8") -> str:
        """Create an empty database and return its name."""
        name = f"test_{next(self._numbers)}"
        create = sql.SQL("CREATE DATABASE {} ENCODING {} TEMPLATE template0")
        self._execute(create.format(sql.Identifier(name), encoding))
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, with the connections that are still open."""
        self._execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(
            host=str(self.folder), user="lobar", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement)

    def _answers(self) -> bool:
        try:
            self._execute(sql.SQL("SELECT {}").format(1))
        except psycopg.OperationalError:
            return False
        return True


def _as_unprivileged_owner(folder: Path) -> list[str | Path]:
    """Prefix a command to run as the folder's owner; PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return []
    known = {user.pw_name: user for user in pwd.getpwall()}
    owner = known.get("postgres") or known["nobody"]
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return [
        need_program("setpriv"),
        *("--reuid", str(owner.pw_uid), "--regid", str(owner.pw_gid), "--clear-groups"),
        *("--pdeathsig", "KILL", "--"),  # a change of user clears the one set before it
    ]


@pytest.fixture(scope="session")
def _shared_postgresql() -> Iterator[PostgreSQLServer]:
    need_program("initdb")
    # not pytest's folder: that one is closed to the user the server runs as, and its path may be
    # longer than a Unix socket's may be; but beside it, which may be in memory
    beside = os.environ.get("PYTEST_DEBUG_TEMPROOT")  # noqa: TID251 -- pytest's own
    folder = Path(tempfile.mkdtemp(prefix="lobar-postgresql-", dir=beside))
    try:
        server = PostgreSQLServer(folder)
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def postgresql_server(_shared_postgresql: PostgreSQLServer) -> PostgreSQLServer:
    """A running cluster; a test may stop, start or kill it."""
    _shared_postgresql.start()
    return _shared_postgresql


@pytest.fixture
def postgresql_url(postgresql_server: PostgreSQLServer) -> Iterator[str]:
    """The SQLAlchemy URL of an empty database, dropped after the test."""
    name = postgresql_server.create_database()
    yield postgresql_server.url(name)
    postgresql_server.start()
    postgresql_server.drop_database(name)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The SQLAlchemy URL of an empty ledger; a test that uses it runs once on each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    url: str = request.getfixturevalue("postgresql_url")
    return url
