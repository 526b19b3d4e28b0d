"""One chaos run: a whole service, senders and destinations, faults, rest, and the verdict."""

import re
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from faults.chaos.keeper import (
    Keeper,
    SteppedClock,
    find_libfaketime,
    let_sleep,
    wait_until_ready,
)
from faults.chaos.pacs import RESPONSE_SECONDS, FaultyPacs, held_by_orthanc
from faults.chaos.schedule import Kind, Plan
from faults.chaos.senders import Book, ChaosSender, Instances
from faults.chaos.strikes import Disk, Striking, World, disks, may_mount
from faults.chaos.verdict import AtRest, Held, Sent, Verdict, judge
from peers.orthanc import OrthancServer
from peers.postgresql import PostgreSQLServer
from support.foreign_bundle import make_bundle
from support.lobar_process import LobarService, destination
from support.system.http import HTTP
from support.system.ports import free_port

from service.domain.job import JobState
from service.errors import EX_CONFIG
from service.storage.ledger import LedgerError

Say = Callable[[str], None]

STANDSTILL_SECONDS: Final = 240  # without an acknowledgement or a finished job: nothing moves
START_SECONDS: Final = 300
_LOOK_SECONDS: Final = 2.0
MAXIMUM_ATTEMPTS: Final = 8  # of an innocent instance that is there whenever its worker is killed
BYTES_OF_INSTANCE: Final = 100_000  # received, reported and traced, with room to spare
BYTES_OF_SERVICE: Final = 64 << 20
EXPECTED_REASONS: Final[dict[str, frozenset[Kind]]] = {
    # whoever is there each time the worker is killed may have caused it
    "attempts-exhausted": frozenset({Kind.KILL_INFER, Kind.KILL_SUPERVISOR}),
}
"""For which reasons a job may be parked, after how many faults of which kinds: see `_expected`."""


class StandstillError(Exception):
    """Nothing moves any more; the message says what is still in flight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to."""

    plan: Plan
    verdict: Verdict
    sent: list[Sent]
    held: dict[str, list[Held]]
    at_rest: AtRest
    transfers: Counter[str]
    responses: Counter[str]
    given_up: int
    happened: Counter[Kind]
    left_out: Counter[str]
    broken: list[str]  # faults that the harness could not make happen
    exits: list[int]  # return codes of supervisors that nobody killed
    fault_seconds: float
    settle_seconds: float
    metrics: dict[str, float]

    @property
    def faults(self) -> list[str]:
        """Every fault as a line; none where the run is good."""
        for_good = self.exits.count(EX_CONFIG)
        return [
            *self.verdict.faults,
            *(f"harness: {each}" for each in self.broken),
            *([f"lobar up ended {for_good} times as if a restart would not help"] * bool(for_good)),
        ]


def run(plan: Plan, folder: Path, say: Say) -> Outcome:
    """Run a plan in an empty folder, and judge what came of it.

    Raises:
        StandstillError: The service did not start, or nothing moved any more.
    """
    with ExitStack() as stack:
        service, world = stack.enter_context(_world(plan, folder))
        stack.callback(world.starter.shutdown)
        book, striking = Book(), Striking(world, say)
        world.keeper.start()
        stack.callback(world.keeper.stop)
        stack.callback(striking.end)
        if not wait_until_ready(service, START_SECONDS):
            raise StandstillError(f"the service did not start:\n{_tail(service.log)}")
        say("the service is ready")
        began = time.monotonic()
        striking.begin(plan.faults)
        balances = stack.enter_context(_balances(service))
        _send_all(plan, service, book, folder, began)
        _wait_for(began + plan.seconds)
        striking.end()
        fault_seconds = time.monotonic() - began
        say(f"{fault_seconds:7.1f} s  everything was sent, and every fault is over")
        settle_seconds = _settle(service, say)
        say(f"at rest after {settle_seconds:.0f} s more")
        metrics = service.metrics()
        at_rest = _at_rest(service, metrics, balances)
        held = {"pacs": list(world.pacs.held), "orthanc": held_by_orthanc(world.orthanc, say)}
        sent = book.sent()
        return Outcome(
            plan=plan,
            verdict=judge(sent, held, at_rest, _expected(striking.happened)),
            sent=sent,
            held=held,
            at_rest=at_rest,
            transfers=book.transfers,
            responses=book.responses,
            given_up=book.given_up,
            happened=striking.happened,
            left_out=striking.left_out,
            broken=striking.broken,
            exits=world.keeper.exits,
            fault_seconds=fault_seconds,
            settle_seconds=settle_seconds,
            metrics=metrics,
        )


@contextmanager
def _world(plan: Plan, folder: Path) -> Iterator[tuple[LobarService, World]]:
    """Make the service, not yet started, and what is around it."""
    with ExitStack() as stack:
        orthanc = OrthancServer(folder)
        stack.callback(orthanc.kill)
        orthanc.start()  # in the thread of the run, which outlives it
        pacs = FaultyPacs(port=free_port())
        pacs.open()
        stack.callback(pacs.close)
        postgresql = stack.enter_context(_postgresql()) if plan.database == "postgresql" else None
        settings = {
            "LOBAR_BUNDLE__PATH": str(make_bundle(folder / "small")),
            "LOBAR_INFER__MAXIMUM_ATTEMPTS": str(MAXIMUM_ATTEMPTS),
            "LOBAR_INFER__MAXIMUM_BACKOFF_SECONDS": "2",
            "LOBAR_DICOM__ALLOW_ANY_CALLING_AE_TITLE": "true",
        }
        if postgresql is not None:
            settings["LOBAR_LEDGER__URL"] = postgresql.url(postgresql.create_database())
        clock = _clock(plan, folder)
        if clock is not None:
            settings |= clock.settings()
        small = {"outputs": ["sr"], "response_seconds": RESPONSE_SECONDS}
        service = LobarService(
            folder,
            [destination(pacs, "pacs", **small), destination(orthanc, "orthanc", **small)],
            **settings,
        )
        if clock is not None:
            let_sleep(service)
        yield (
            service,
            World(
                keeper=Keeper(service),
                state_dir=service.state_dir,
                pacs=pacs,
                orthanc=orthanc,
                postgresql=postgresql,
                disks=stack.enter_context(_disks(plan, service.state_dir)),
                clock=clock,
            ),
        )


@contextmanager
def _postgresql() -> Iterator[PostgreSQLServer]:
    folder = Path(tempfile.mkdtemp(prefix="lobar-chaos-postgresql-"))
    try:
        server = PostgreSQLServer(folder)
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _disks(plan: Plan, state_dir: Path) -> Iterator[dict[Kind, Disk]]:
    """Mount the file systems of the plan where this account may, else none."""
    wanted = {Kind.SPOOL_FULL, Kind.OUTBOX_FULL, Kind.LEDGER_FULL} & set(plan.kinds)
    if not wanted or not may_mount(state_dir.parent):
        yield {}
        return
    size = BYTES_OF_SERVICE + plan.instances * BYTES_OF_INSTANCE
    with disks(state_dir, plan.layout, size) as made:
        yield made


def _clock(plan: Plan, folder: Path) -> SteppedClock | None:
    library = find_libfaketime()
    if Kind.CLOCK_STEP not in plan.kinds or library is None:
        return None
    return SteppedClock(folder, library)


def _send_all(plan: Plan, service: LobarService, book: Book, folder: Path, began: float) -> None:
    """Let every sender send everything, evenly over the time of the faults, and wait for all."""
    instances = Instances(plan.seed)
    over = threading.Event()

    def wait_for_turn(share: float) -> bool:
        return not over.wait(max(0.0, began + share * plan.seconds - time.monotonic()))

    senders = [
        ChaosSender(
            each,
            instances=instances,
            book=book,
            port=service.dicom_port,
            folder=folder / each.name,
            wait_for_turn=wait_for_turn,
        )
        for each in plan.senders
    ]
    for sender in senders:
        sender.start()
    try:
        for sender in senders:
            while sender.is_alive():
                sender.join(1)
                _require_movement(book, service)
    finally:
        over.set()


def _require_movement(book: Book, service: LobarService) -> None:
    if time.monotonic() - book.latest_success > STANDSTILL_SECONDS:
        raise StandstillError(
            f"nothing was acknowledged for {STANDSTILL_SECONDS} s:\n{_tail(service.log)}"
        )


def _wait_for(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _settle(service: LobarService, say: Say) -> float:
    """Wait until nothing is in flight, for as long as something moves; return the seconds.

    Raises:
        StandstillError: Something is in flight and nothing moves.
    """
    began = moved = time.monotonic()
    before: object = None
    told = 0.0
    while True:
        counts = _counts(service)
        now = time.monotonic()
        if counts is not None and counts["lobar_jobs_in_flight"] == 0:
            return now - began
        if counts != before and counts is not None:
            before, moved = counts, now
        if now - moved > STANDSTILL_SECONDS:
            raise StandstillError(
                f"nothing moved for {STANDSTILL_SECONDS} s, and in flight is: {in_flight(service)}"
            )
        if now - told > 15 and counts is not None:
            told = now
            say(f"waiting for {counts['lobar_jobs_in_flight']:.0f} jobs in flight")
        time.sleep(0.5)


MOVING: Final = ("lobar_jobs", "lobar_ledger_received", "lobar_deliveries", "lobar_balance")


def _counts(service: LobarService) -> dict[str, float] | None:
    """Read how many jobs and deliveries are in which state; None while the ledger is away."""
    try:
        metrics = service.metrics()
    except (httpx.HTTPError, ValueError):
        return None
    if metrics.get("lobar_ledger_up") != 1:
        return None
    return {name: value for name, value in metrics.items() if name.startswith(MOVING)}


def in_flight(service: LobarService) -> str:
    """Describe what is in flight, by state, reason of the last postponement, and due time."""
    found: Counter[str] = Counter()
    try:
        ledger = service.ledger()
    except LedgerError as exc:
        return f"unknown, since the ledger cannot be opened: {exc}"
    try:
        now = time.time()
        for state in (JobState.RECEIVED, JobState.REPORTED):
            for job in ledger.queries.recent(200, state=state):
                due = "not due" if job.due_at is None else f"due in {job.due_at - now:.0f} s"
                why = next(
                    (
                        str(event.detail.get("why", event.name))
                        for event in reversed(ledger.queries.trace(job.id))
                    ),
                    "",
                )
                found[f"{state} ({why}, {'leased' if job.holder else 'not leased'}, {due})"] += 1
    finally:
        ledger.close()
    parts = _missing(service)
    listed = "; ".join(f"{count} {what}" for what, count in found.most_common(12))
    return f"{listed or 'nothing'}; not ready: {parts}\n{_tail(service.log)}"


def _missing(service: LobarService) -> str:
    try:
        answer: dict[str, Any] = HTTP.get(f"{service.url}/health/ready").json()
    except (httpx.HTTPError, ValueError) as exc:
        return f"the web process ({exc!r})"
    return ", ".join(answer.get("missing", [])) or "nothing"


@contextmanager
def _balances(service: LobarService) -> Iterator[list[int]]:
    """Collect `lobar_balance` now and then, as it is at every moment of the run."""
    seen: list[int] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_SECONDS):
            counts = _counts(service)
            if counts is not None:
                seen.append(int(counts["lobar_balance"]))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def _at_rest(service: LobarService, metrics: dict[str, float], balances: list[int]) -> AtRest:
    ledger = service.ledger()
    try:
        parked = ledger.queries.parked(None)
    finally:
        ledger.close()
    return AtRest(
        received=int(metrics["lobar_ledger_received"]),
        balance=int(metrics["lobar_balance"]),
        in_flight=int(metrics["lobar_jobs_in_flight"]),
        parked=[(job.sop_instance_uid, str(job.reason)) for job in parked],
        balances=list(balances),
    )


def _expected(happened: Counter[Kind]) -> set[str]:
    """Return for which reasons the faults that happened may park a job."""
    return {
        reason
        for reason, kinds in EXPECTED_REASONS.items()
        if sum(happened[kind] for kind in kinds) >= MAXIMUM_ATTEMPTS
    }


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    told = [line for line in lines if re.search(r'"level": ?"(error|warning|critical)"', line)]
    return "\n".join((told or lines)[-15:])
