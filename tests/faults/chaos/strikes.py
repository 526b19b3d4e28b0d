"""Makes the faults of a plan happen, and ends each of them when its time is over."""

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import redis
from faults.chaos.keeper import Keeper, SteppedClock
from faults.chaos.pacs import Behaviour, FaultyPacs
from faults.chaos.schedule import RULES, Fault, Kind, Layout
from peers.orthanc import OrthancServer
from peers.postgresql import PostgreSQLServer
from support.system.ports import LOOPBACK


class LeftOutError(Exception):
    """A fault cannot happen here, or not now; the message says why."""


class Disk:
    """A file system in memory that can be made full at once, whatever its size."""

    def __init__(self, folder: Path, size_bytes: int) -> None:
        self.folder = folder
        self._size_bytes = size_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _mount("tmpfs", str(folder), f"size={size_bytes},mode=700", "-t", "tmpfs")

    def fill(self) -> None:
        """Leave no room: shrink the file system to what is in it."""
        for _ in range(20):  # its writers may be faster
            state = os.statvfs(self.folder)
            used = (state.f_blocks - state.f_bfree) * state.f_frsize
            try:
                _mount("tmpfs", str(self.folder), f"remount,size={used}")
            except subprocess.CalledProcessError:
                continue
            return
        raise LeftOutError("the file system grew faster than it could be filled")

    def make_room(self) -> None:
        """Give it its size back."""
        _mount("tmpfs", str(self.folder), f"remount,size={self._size_bytes}")


def _mount(what: str, where: str, options: str, *more: str) -> None:
    subprocess.run(["mount", *more, "-o", options, what, where], check=True, capture_output=True)


@contextmanager
def disks(state_dir: Path, layout: Layout, size_bytes: int) -> Iterator[dict[Kind, Disk]]:
    """Mount what spool, outbox and ledger lie on: one file system, or one each."""
    spool = state_dir / "spool"
    folders = {
        Kind.LEDGER_FULL: state_dir,
        Kind.SPOOL_FULL: spool if layout is Layout.APART else state_dir,
        Kind.OUTBOX_FULL: spool / "outbox" if layout is Layout.APART else state_dir,
    }
    made: dict[Path, Disk] = {}
    try:
        for folder in folders.values():
            if folder not in made:
                made[folder] = Disk(folder, size_bytes)
        yield {kind: made[folder] for kind, folder in folders.items()}
    finally:
        for folder in reversed(made):
            subprocess.run(["umount", "--lazy", folder], check=False, capture_output=True)


def may_mount(folder: Path) -> bool:
    """Whether this account may mount a file system."""
    try:
        with disks(folder / "probe", Layout.SAME, 1 << 20):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@dataclass(kw_only=True)
class World:
    """What the faults strike."""

    keeper: Keeper
    state_dir: Path
    pacs: FaultyPacs
    orthanc: OrthancServer
    postgresql: PostgreSQLServer | None = None
    disks: Mapping[Kind, Disk] = field(default_factory=dict)
    clock: SteppedClock | None = None
    # in which servers are started: the kernel kills a server with the thread that started it
    starter: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "starter"))

    def start(self, server: OrthancServer | PostgreSQLServer) -> None:
        """Start a server, in a thread that stays until the run is over."""
        self.starter.submit(server.start).result()


Strike = Callable[[World, Fault], AbstractContextManager[None]]


PATIENCE_SECONDS: Final = 30


def _when_running(what: str, strike: Callable[[], bool]) -> None:
    """Strike as soon as there is something to strike.

    Raises:
        LeftOutError: It did not start within seconds, since something else struck before.
    """
    until = time.monotonic() + PATIENCE_SECONDS
    while not strike():
        if time.monotonic() > until:
            raise LeftOutError(f"{what} was not running")
        time.sleep(0.2)


@contextmanager
def _kill_part(world: World, fault: Fault) -> Iterator[None]:
    role = fault.kind.removeprefix("kill-")
    _when_running(role, lambda: world.keeper.signal_part(role, signal.SIGKILL))
    yield


@contextmanager
def _kill_supervisor(world: World, _: Fault) -> Iterator[None]:
    _when_running("supervisor", world.keeper.kill)
    yield


@contextmanager
def _flush_redis(world: World, _: Fault) -> Iterator[None]:
    try:
        text = (world.state_dir / "redis" / "redis.conf").read_text()
        settings = dict(line.split(" ", 1) for line in text.splitlines())
        with redis.Redis(
            host=LOOPBACK,
            port=int(settings["port"]),
            password=settings["requirepass"],
            socket_timeout=2,
        ) as client:
            client.flushall()
    except (OSError, KeyError, redis.RedisError) as exc:
        raise LeftOutError("Redis was not running") from exc
    yield


@contextmanager
def _stop_redis(world: World, _: Fault) -> Iterator[None]:
    _when_running("redis", lambda: world.keeper.signal_part("redis", signal.SIGTERM))
    yield


@contextmanager
def _freeze_redis(world: World, _: Fault) -> Iterator[None]:
    pids: list[int] = []

    def find() -> bool:
        pids.extend(pid for role, pid in world.keeper.parts().items() if role == "redis")
        return bool(pids)

    _when_running("redis", find)
    with _frozen(pids[0]):
        yield


@contextmanager
def _restart_postgresql(world: World, fault: Fault) -> Iterator[None]:
    assert world.postgresql is not None
    if fault.kind is Kind.KILL_POSTGRESQL:
        world.postgresql.kill()
    else:
        world.postgresql.stop()
    try:
        yield
    finally:
        world.start(world.postgresql)


@contextmanager
def _orthanc_down(world: World, _: Fault) -> Iterator[None]:
    world.orthanc.stop()
    try:
        yield
    finally:
        world.start(world.orthanc)


@contextmanager
def _orthanc_frozen(world: World, _: Fault) -> Iterator[None]:
    with _frozen(world.orthanc._server.pid):
        yield


@contextmanager
def _frozen(pid: int) -> Iterator[None]:
    try:
        os.kill(pid, signal.SIGSTOP)
    except ProcessLookupError as exc:
        raise LeftOutError("it ended in the meantime") from exc
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@contextmanager
def _pacs_down(world: World, _: Fault) -> Iterator[None]:
    world.pacs.close()
    try:
        yield
    finally:
        world.pacs.open()


@contextmanager
def _pacs_behaves(world: World, fault: Fault) -> Iterator[None]:
    world.pacs.behaviour = Behaviour(fault.kind.removeprefix("pacs-"))
    try:
        yield
    finally:
        world.pacs.behaviour = Behaviour.TAKES


@contextmanager
def _disk_full(world: World, fault: Fault) -> Iterator[None]:
    disk = world.disks.get(fault.kind)
    if disk is None:
        raise LeftOutError("this account may not mount a file system of its own")
    disk.fill()
    try:
        yield
    finally:
        disk.make_room()


@contextmanager
def _clock_step(world: World, fault: Fault) -> Iterator[None]:
    if world.clock is None:
        raise LeftOutError("no libfaketime on this machine: install the Debian package libfaketime")
    world.clock.step_to(fault.clock_offset)
    yield


STRIKES: Final[dict[Kind, Strike]] = {
    Kind.KILL_LISTENER: _kill_part,
    Kind.KILL_RELAY: _kill_part,
    Kind.KILL_INFER: _kill_part,
    Kind.KILL_DELIVER: _kill_part,
    Kind.KILL_WEB: _kill_part,
    Kind.KILL_REDIS: _kill_part,
    Kind.KILL_SUPERVISOR: _kill_supervisor,
    Kind.FLUSH_REDIS: _flush_redis,
    Kind.STOP_REDIS: _stop_redis,
    Kind.FREEZE_REDIS: _freeze_redis,
    Kind.RESTART_POSTGRESQL: _restart_postgresql,
    Kind.KILL_POSTGRESQL: _restart_postgresql,
    Kind.ORTHANC_DOWN: _orthanc_down,
    Kind.ORTHANC_FROZEN: _orthanc_frozen,
    Kind.PACS_DOWN: _pacs_down,
    Kind.PACS_SLOW: _pacs_behaves,
    Kind.PACS_HANGS: _pacs_behaves,
    Kind.PACS_FULL: _pacs_behaves,
    Kind.PACS_ABORTS: _pacs_behaves,
    Kind.PACS_WARNS: _pacs_behaves,
    Kind.SPOOL_FULL: _disk_full,
    Kind.OUTBOX_FULL: _disk_full,
    Kind.LEDGER_FULL: _disk_full,
    Kind.CLOCK_STEP: _clock_step,
}


class Striking:
    """Strikes with each fault of a plan in a thread of its own, and counts what happened."""

    def __init__(self, world: World, say: Callable[[str], None]) -> None:
        self._world = world
        self._say = say
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._targets = {rule.target: threading.Lock() for rule in RULES.values()}
        self.happened: Counter[Kind] = Counter()
        self.left_out: Counter[str] = Counter()
        self.broken: list[str] = []  # the harness itself failed

    def begin(self, faults: tuple[Fault, ...]) -> None:
        """Begin to strike: the times of the faults count from now."""
        began = time.monotonic()
        for fault in faults:
            thread = threading.Thread(target=self._strike, args=(fault, began), daemon=True)
            thread.start()
            self._threads.append(thread)

    def end(self) -> None:
        """End every fault that still lasts, and wait until all is as before."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _strike(self, fault: Fault, began: float) -> None:
        if self._over.wait(max(0.0, began + fault.at - time.monotonic())):
            return
        try:
            # one after another where the end of the fault before took long, such as a start
            with self._targets[RULES[fault.kind].target], STRIKES[fault.kind](self._world, fault):
                self.happened[fault.kind] += 1
                self._say(f"{time.monotonic() - began:7.1f} s  {fault.kind}")
                self._over.wait(fault.seconds)
        except LeftOutError as exc:
            self.left_out[f"{fault.kind}: {exc}"] += 1
        except Exception as exc:  # noqa: BLE001 -- of the harness; it must be seen, and ends the run badly
            self.broken.append(f"{fault.kind} at {fault.at} s: {exc!r}")
