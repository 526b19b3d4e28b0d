"""A site: what nodes share, and the modality that stores to them."""

import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final, TypeVar

from alembic.migration import MigrationContext
from faults.chaos.pacs import FaultyPacs
from faults.chaos.schedule import Step, Way
from faults.chaos.senders import Instances, responses_of_storescu
from faults.chaos.verdict import AtRest, Sent, Verdict, judge
from peers.faketime import WallClock
from peers.postgresql import PostgreSQLServer
from peers.redis_server import program_of
from sqlalchemy import create_engine

from service.domain.job import Job, JobState
from service.domain.part import PartName
from service.storage.ledger import Ledger
from support.containers.container import require_right_to_contain
from support.containers.network import Network
from support.foreign_bundle import make_bundle
from support.lobar_process import destination, wait_for
from support.nodes.node import Node, Place
from support.system.process import Server
from support.system.programs import need_program

MODALITY: Final = "MODALITY"
PACS_PORT: Final = 11113
LEASE_SECONDS: Final = 4
Answer = TypeVar("Answer")
_APART_SECONDS: Final = 100_000  # between the boots of two machines
_NETWORK: Final = "site"
_SUBNET: Final = IPv4Network("10.213.7.0/24")
_PEERS: Final = ("postgresql", "redis", "pacs", "modality")
_DICOM_PORT: Final = "11112"
_REDIS_PORT: Final = 6379


@dataclass
class Book:
    """What the modality sent, and whether it was answered Success."""

    acknowledged: dict[int, bool]

    def sent(self, seed: int) -> list[Sent]:
        """Return it for the verdict."""
        instances = Instances(seed)
        return [
            Sent(version=instances.version(_step(number)), acknowledged=known, in_scope=True)
            for number, known in self.acknowledged.items()
        ]


class Site:
    """What nodes share, each on a host of one network: PostgreSQL, Redis, a PACS, a modality."""

    def __init__(self, folder: Path, names: Sequence[str], database: Path) -> None:
        require_right_to_contain()
        self.folder = folder
        self.names = names
        self.spool = folder / "spool"
        self.spool.mkdir(mode=0o700)
        self.nodes: dict[str, Node] = {}
        self.pacs = FaultyPacs()
        self._seed = 7
        self._book = Book({})
        self._bundle = make_bundle(folder / "small")
        self._database = database
        self.network = Network(f"nodes{os.getpid()}", {_NETWORK: _SUBNET})
        for host in (*_PEERS, *names):
            self.network.add(host, {_NETWORK: IPv4Address(_SUBNET[self.number(host)])})
        self.ledger_url = ""
        self._postgresql: PostgreSQLServer | None = None

    def number(self, host: str) -> int:
        """Return the number of a host, the last of its address."""
        return [*_PEERS, *self.names].index(host) + 1

    def address(self, host: str) -> str:
        """Return the address of a host."""
        return self.network.address(host, _NETWORK)

    @contextmanager
    def running(self) -> Iterator["Site"]:
        """Run everything but the nodes, and end all of it after the block."""
        with ExitStack() as stack:
            stack.callback(self.network.close)
            self.network.make()
            self._postgresql = PostgreSQLServer(
                self._database,
                enter=self.network.command("postgresql"),
                address=f"{self.address('postgresql')}/{_SUBNET.prefixlen}",
            )
            stack.callback(self._postgresql.kill)
            self._postgresql.start()
            name = self._postgresql.create_database()
            self.ledger_url = self._postgresql.url(name)
            self._network_url = self._postgresql.network_url(name)
            self._engine = create_engine(self.ledger_url)
            stack.callback(self._engine.dispose)
            redis = self._redis()
            stack.callback(redis.kill)
            redis.start()
            self.pacs.host, self.pacs.port = self.address("pacs"), PACS_PORT
            with self.network.inside("pacs"):
                self.pacs.open()
            stack.callback(self.pacs.close)
            stack.callback(self._kill_nodes)
            yield self

    def node(
        self,
        name: str,
        *,
        seconds_ahead: float | None = None,
        parts: Sequence[PartName] = tuple(PartName),
        is_mounted: bool = True,
        source: Path | None = None,
        host_name: str = "",
        **settings: str,
    ) -> Node:
        """Make a node, not yet started.

        Args:
            name: Of its host.
            seconds_ahead: By how much its wall clock is ahead; without, it has the machine's.
            parts: Those that it runs.
            is_mounted: Whether the shared spool is mounted in its state directory.
            source: A folder with another version of Lobar that it runs.
            host_name: Of its machine, if it is not its own.
            **settings: Of its own.
        """
        clock = None
        if seconds_ahead is not None:
            clock = WallClock(self.folder / f"clock-{name}")
            clock.set(seconds_ahead)
        place = Place(
            folder=self.folder,
            network=self.network,
            engine=self._engine,
            destination=destination(self.pacs, "pacs", outputs=["sr"]),
            uptime_seconds=_APART_SECONDS * self.number(name),
        )
        node = Node(
            place,
            name,
            clock=clock,
            parts=parts,
            spool=self.spool if is_mounted else None,
            source=source,
            host_name=host_name,
            **self.settings(name) | settings,
        )
        self.nodes[name] = node
        return node

    def settings(self, name: str) -> dict[str, str]:
        """Return the settings that the nodes have in common, and the addresses of one."""
        return {
            "LOBAR_LEDGER__URL": self._network_url,
            "LOBAR_REDIS__URL": f"redis://{self.address('redis')}:{_REDIS_PORT}/0",
            "LOBAR_BUNDLE__PATH": str(self._bundle),
            "LOBAR_BUNDLE__ENGINE": "torch",
            "LOBAR_DICOM__HOST": self.address(name),
            "LOBAR_DICOM__PORT": _DICOM_PORT,
            "LOBAR_DICOM__PROCESSES": "1",
            "LOBAR_DICOM__ALLOWED_CALLING_AE_TITLES": MODALITY,
            "LOBAR_INFER__LEASE_SECONDS": str(LEASE_SECONDS),
            "LOBAR_DELIVER__LEASE_SECONDS": str(LEASE_SECONDS),
            "LOBAR_INFER__MAXIMUM_ATTEMPTS": "8",
        }

    def store(self, node: Node, count: int) -> list[int]:
        """Store so many new instances at a node, over one association; return their numbers.

        An instance that was not answered Success is kept as such in the book.
        """
        numbers = [len(self._book.acknowledged) + each for each in range(count)]
        return self.store_again(node, numbers)

    def store_again(self, node: Node, numbers: Sequence[int]) -> list[int]:
        """Store instances by their numbers; return those that were not answered Success."""
        instances = Instances(self._seed)
        folder = self.folder / "modality"
        folder.mkdir(exist_ok=True)
        files = {folder / f"{each}.dcm": each for each in numbers}
        for file, each in files.items():
            file.write_bytes(instances.file(_step(each)))
            self._book.acknowledged.setdefault(each, False)
        done = subprocess.run(
            [
                *self.network.command("modality"),
                *(str(need_program("storescu")), "--verbose", "--timeout", "10"),
                *("--aetitle", MODALITY, "--call", node.ae_title),
                *(self.address(node.name), _DICOM_PORT, *map(str, files)),
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        answers = responses_of_storescu(done.stdout + done.stderr)
        for file, number in files.items():
            if answers.get(str(file)) == "0x0000":
                self._book.acknowledged[number] = True
        return [each for each in numbers if not self._book.acknowledged[each]]

    def jobs(self) -> list[Job]:
        """Return all jobs, up to a thousand."""
        return self._query(lambda ledger: list(ledger.queries.recent(1000)))

    def settle(self) -> None:
        """Wait until no job is in flight."""
        on_its_way = {JobState.RECEIVED, JobState.REPORTED}
        wait_for(lambda: not [job for job in self.jobs() if job.state in on_its_way])

    def verdict(self) -> Verdict:
        """Compare what the modality was told with what the PACS holds, at rest."""
        counts = self._query(lambda ledger: ledger.queries.job_counts())
        parked = [job for job in self.jobs() if job.state is JobState.PARKED]
        at_rest = AtRest(
            received=counts.received,
            balance=counts.balance,
            in_flight=counts.in_flight,
            parked=[(job.sop_instance_uid, str(job.reason)) for job in parked],
        )
        return judge(self._book.sent(self._seed), {"pacs": list(self.pacs.held)}, at_rest)

    def concluded_by(self, job: Job) -> list[str]:
        """Return the holders of a job's leases, in order."""
        trace = self._query(lambda ledger: ledger.queries.trace(job.id))
        return [str(each.detail["holder"]) for each in trace if each.name == "leased"]

    def revision(self) -> str | None:
        """Return the revision of the ledger's tables."""
        with self._engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def cut(self, host: str, *, is_cut: bool = True) -> None:
        """Take a host off the network, or put it back."""
        state = "down" if is_cut else "up"
        command = [*self.network.command(host), "ip", "link", "set", "eth0", state]
        subprocess.run(command, check=True)

    def _query(self, question: Callable[[Ledger], Answer]) -> Answer:
        ledger = Ledger(self.ledger_url)
        try:
            return question(ledger)
        finally:
            ledger.close()

    def _redis(self) -> Server:
        address = self.address("redis")

        def answers() -> bool:
            done = subprocess.run(
                [
                    *self.network.command("redis"),
                    *("redis-cli", "-h", address, "-p", str(_REDIS_PORT), "ping"),
                ],
                check=False,
                capture_output=True,
                text=True,
            )
            return done.stdout.strip() == "PONG"

        return Server(
            [
                *self.network.command("redis"),
                *(program_of("redis"), "--bind", address, "--port", str(_REDIS_PORT)),
                *("--protected-mode", "no", "--save", "", "--appendonly", "no"),
            ],
            log=self.folder / "redis.log",
            answers=answers,
        )

    def _kill_nodes(self) -> None:
        for node in self.nodes.values():
            node.kill()


def _step(number: int) -> Step:
    return Step(number=number, version=1, way=Way.NEW)
