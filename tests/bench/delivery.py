"""Time the delivery of reports and overlays: objects a second, by number of associations.

    PYTHONPATH=tests .venv/bin/python -m bench.delivery

As many outputs as `--objects` says are due in a ledger: an 8 kB report and a 2.7 MB overlay of each
synthetic radiograph. They are sent by the deliver worker's own code to each peer, in turns: as it
was without several associations and without direct sending ("plain"), and with 1, 2, 4 and 8
associations. `storescu` sends the same files to the same peer for comparison, without a ledger.

The peers are as installed: DCMTK's storescp, which serves one association after the other, the same
with --fork, Orthanc over C-STORE, and Orthanc over STOW-RS.

Printed are medians of the rounds, with the least and the most: objects a second by the clock, which
other programs on the machine change much, and milliseconds of the processor for each object, of
this process and of the peer. Read the ratios.
"""

import argparse
import json
import logging
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Final

import structlog
from peers.dcmtk import StoreSCP, dcmtk_store
from peers.orthanc import OrthancServer, dicomweb_orthanc
from peers.scripted_pacs import ScriptedPacs
from pydicom import dcmread
from support.delivery_worker import NAME, DeliverySetup

from service.domain.delivery import OutputRecord
from service.domain.job import ConclusionRecord, Instance
from service.domain.routing import Outcome, OutputKind, Routes
from service.settings import Destination, DimseDestination, WebDestination
from service.storage.ledger.database import Database
from workers.delivery.context import DeliveryContext
from workers.delivery.worker import DeliveryWorker

SIDE: Final = 2048
PLAIN: Final = "plain, 1 association"
STORESCU: Final = "storescu"
_CONCLUSION: Final = ConclusionRecord(
    finding="present", probability=0.75, operating_point="screening", model="m 1"
)
_ROUTES: Final = Routes(
    dict.fromkeys(Outcome, ((OutputKind.SR, NAME), (OutputKind.OVERLAY, NAME))),
    has_destinations=True,
)
_RESET: Final = (
    "UPDATE deliveries SET state = 'pending', due_at = since, holder = NULL, finished_at = NULL",
    "UPDATE jobs SET state = 'reported', finished_at = NULL, kept_since = NULL",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one way to send took."""

    seconds: float
    own_ms: float  # of the processor, for each object
    peer_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to send; associations and whether requests go straight to the socket."""

    name: str
    associations: int
    direct: bool


WAYS: Final = (
    Way(name=PLAIN, associations=1, direct=False),
    *(Way(name=f"{count} associations", associations=count, direct=True) for count in (1, 2, 4, 8)),
)


class Peer:
    """A running receiver, and how it is configured as a destination."""

    def __init__(self, server: StoreSCP | OrthancServer, pid: int, settings: Destination) -> None:
        self.server, self.settings, self._pid = server, settings, pid

    def empty(self) -> None:
        """Remove what it holds."""
        if isinstance(self.server, OrthancServer):
            self.server.reset()
            return
        for file in self.server.received():
            file.unlink()

    def processor_seconds(self) -> float:
        """Return the processor time of it and its children that have ended."""
        status = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, status[11:15])) / 100  # USER_HZ, proc(5)


@contextmanager
def running(kind: str, folder: Path) -> Iterator[Peer]:
    """Run a peer."""
    limits = {"name": NAME, "connect_seconds": 5, "response_seconds": 60}
    if kind.startswith("storescp"):
        server: StoreSCP | OrthancServer = StoreSCP(folder, *kind.split()[1:])
    else:
        server = dicomweb_orthanc(folder) if kind == "orthanc stow" else OrthancServer(folder)
    server.start()
    try:
        if isinstance(server, OrthancServer) and kind == "orthanc stow":
            settings: Destination = WebDestination.model_validate(
                {**limits, "url": server.dicomweb_url}
            )
        else:
            port = server.port if isinstance(server, StoreSCP) else server.dicom_port
            where = {"ae_title": server.ae_title, "host": server.host, "port": port}
            settings = DimseDestination.model_validate({**limits, **where})
        yield Peer(server, server._server.pid, settings)
    finally:
        server.kill()


class Backlog:
    """A ledger and an outbox with outputs that are due, again and again."""

    def __init__(self, folder: Path, objects: int) -> None:
        self._setup = DeliverySetup(folder, ScriptedPacs())
        self.workspace = self._setup.workspace
        self.files: list[Path] = []
        self._database = Database(self.workspace.settings.ledger_url)
        self._fill(objects)

    def lay_out(self) -> None:
        """Make every output due."""
        with self._database.write() as connection:
            for statement in _RESET:
                connection.exec_driver_sql(statement)

    def deliver(self, destination: Destination, way: Way) -> None:
        """Send what is due.

        Raises:
            RuntimeError: something was not delivered.
        """
        limits = self.workspace.settings.deliver.model_copy(update={"direct_sending": way.direct})
        context = DeliveryContext(
            settings=self.workspace.settings.model_copy(update={"deliver": limits}),
            ledger=self.workspace.ledger,
            spool=self.workspace.spool,
            holder="bench/deliver/1/",
        )
        chosen = destination.model_copy(update={"associations": way.associations})
        DeliveryWorker(context).deliver_due(chosen)
        (state,) = {state for _, state in self.workspace.ledger.queries.delivery_counts()}
        if state != "delivered":
            raise RuntimeError(f"outputs are {state}")

    def _fill(self, objects: int) -> None:
        first = self._setup.report(SIDE)
        ledger, spool = self.workspace.ledger, self.workspace.spool
        kept = [
            dcmread(spool.outbox(first, each.kind, each.sop_instance_uid))
            for each in ledger.queries.outputs(first)
        ]
        kinds = [each.kind for each in ledger.queries.outputs(first)]
        self.files += [
            spool.outbox(first, each.kind, each.sop_instance_uid)
            for each in ledger.queries.outputs(first)
        ]
        for _ in range(objects // len(kinds) - 1):
            ledger.jobs.receive(_instance())
            (job,) = ledger.jobs.lease("bench/", 1, lease_seconds=60, maximum_attempts=3)
            records = []
            for kind, dataset in zip(kinds, kept, strict=True):
                dataset.StudyInstanceUID = job.study_instance_uid
                for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
                    setattr(dataset, keyword, _uid())
                dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
                content = BytesIO()
                dataset.save_as(content)
                uid = str(dataset.SOPInstanceUID)
                spool.put_output(job.id, kind, uid, content.getvalue())
                self.files.append(spool.outbox(job.id, kind, uid))
                records.append(
                    OutputRecord(
                        kind=kind, sop_class_uid=str(dataset.SOPClassUID), sop_instance_uid=uid
                    )
                )
            ledger.jobs.report(job, _CONCLUSION, records, _ROUTES)


def _uid() -> str:
    return f"2.25.{uuid.uuid4().int}"


def _instance() -> Instance:
    return Instance(
        job_id=uuid.uuid4().hex,
        size_bytes=10,
        sop_instance_uid=_uid(),
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
        series_instance_uid=_uid(),
        study_instance_uid=_uid(),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        digest="0" * 64,
        calling_ae_title="BENCH",
    )


def time_once(peer: Peer, objects: int, send: Callable[[], object]) -> Run:
    """Time one way to send everything to a peer, which is emptied first."""
    peer.empty()
    own, others, began = time.process_time(), peer.processor_seconds(), time.perf_counter()
    send()
    return Run(
        seconds=time.perf_counter() - began,
        own_ms=(time.process_time() - own) * 1000 / objects,
        peer_ms=(peer.processor_seconds() - others) * 1000 / objects,
    )


def measure(peer: Peer, backlog: Backlog, rounds: int, ways: Sequence[Way]) -> dict[str, list[Run]]:
    """Time each way in turns, after one round of the first that is not counted."""
    objects = len(backlog.files)
    backlog.lay_out()
    backlog.deliver(peer.settings, ways[0])
    found: dict[str, list[Run]] = {}
    for _ in range(rounds):
        for way in ways:
            backlog.lay_out()
            run = time_once(peer, objects, partial(backlog.deliver, peer.settings, way))
            found.setdefault(way.name, []).append(run)
        if isinstance(peer.settings, DimseDestination):
            run = time_once(peer, objects, partial(_storescu, peer.settings, backlog.files))
            found.setdefault(STORESCU, []).append(replace(run, own_ms=float("nan")))
    return found


def _storescu(destination: Destination, files: Sequence[Path]) -> subprocess.CompletedProcess[str]:
    assert isinstance(destination, DimseDestination)
    done = dcmtk_store(destination.port, destination.ae_title, files)
    done.check_returncode()
    return done


def rows(found: dict[str, list[Run]], objects: int) -> Iterator[str]:
    """Yield a line for each way."""
    for name, runs in found.items():
        rates = [objects / each.seconds for each in runs]
        own, peers = (
            statistics.median(values)
            for values in zip(*((each.own_ms, each.peer_ms) for each in runs), strict=True)
        )
        yield (
            f"{name} | {statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"
            f" | {own:.2f} | {peers:.2f}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each peer."""
    parser = argparse.ArgumentParser(description=__doc__)
    peers = ("storescp", "storescp --fork", "orthanc", "orthanc stow")
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", choices=peers)
    parser.add_argument("--json", type=Path, help="write every run there")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    written = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "state").mkdir()
        backlog = Backlog(folder / "state", options.objects)
        print(f"{len(backlog.files)} objects, {options.rounds} rounds in turns")
        print("objects/s (least to most) | ms of our processor | of the peer's, for each object")
        for number, kind in enumerate(options.peer or peers):
            (folder / str(number)).mkdir()
            with running(kind, folder / str(number)) as peer:
                found = measure(peer, backlog, options.rounds, WAYS)
            written[kind] = {way: [asdict(run) for run in runs] for way, runs in found.items()}
            print(f"\n{kind}", *rows(found, len(backlog.files)), sep="\n", flush=True)
    if options.json:
        options.json.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
