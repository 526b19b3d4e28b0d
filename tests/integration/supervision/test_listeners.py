"""Several listeners on one port: who accepts, what they count together, and a restart of one."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from peers.raw_scu import Rejected, Sender
from pydicom.uid import ImplicitVRLittleEndian
from support.listener import RunningListener, Stores, settings_for
from support.lobar_process import wait_for
from support.system.ports import LOOPBACK, accepts_connections, free_port
from support.system.process import Server

from service.dicom.statuses import SUCCESS
from service.receiving.listener import Listener
from service.receiving.listener.connections.limits import AssociationLimits, Requestor
from service.receiving.listener.refusals import Refused
from service.receiving.listening import PortInUseError
from service.receiving.shared_listening import SharedListening, Sharing
from service.settings import ConfigurationError, DicomSettings
from service.storage.ledger import Ledger

ONLY_LISTENERS = """
from service.settings import child_environment, read_settings
from service.receiving.shared_listening import SharedListening
from service.storage.opening import open_stores
from service.supervision.supervisor import Supervisor
from service.supervision.up import parts_of_machine
from service.telemetry.structured_log import configure

settings = read_settings()
configure(settings.log)
listening = SharedListening(settings.dicom)
with open_stores(settings) as (ledger, _):
    Supervisor(
        [part for part in parts_of_machine(None, listening.shares()) if part.role == "listener"],
        ledger,
        environment=child_environment(),
        drain_seconds=30,
        start_seconds=600,
        stuck_seconds=120,
    ).run(listening.close)
"""
"""`lobar up` without the other parts."""

VERIFICATION = (("1.2.840.10008.1.1", ImplicitVRLittleEndian),)
ANYONE = Requestor(ae_title="A", network="1")


def dicom(**changes: object) -> DicomSettings:
    return DicomSettings(**{"port": free_port(), "host": LOOPBACK, "processes": 2, **changes})


@pytest.fixture
def shared() -> Iterator[Callable[[DicomSettings], SharedListening]]:
    with ExitStack() as stack:

        def opened(settings: DicomSettings) -> SharedListening:
            listening = SharedListening(settings)
            stack.callback(listening.close)
            return listening

        yield opened


def inherited(share: Sharing) -> Sharing:
    """Return what a process gets: descriptors of its own for the same sockets."""
    return Sharing(
        number=share.number,
        listeners=share.listeners,
        memory=share.memory,
        sockets=[os.dup(each) for each in share.sockets],
    )


@contextmanager
def listeners(
    stores: Stores, settings: DicomSettings, listening: SharedListening
) -> Iterator[list[RunningListener]]:
    """Run the listeners in one process, as a stand-in for several."""
    whole = settings_for(stores.folder).model_copy(update={"dicom": settings})
    with ExitStack() as stack:
        yield [
            RunningListener(
                stack.enter_context(
                    Listener(
                        whole,
                        stores.spool,
                        stores.ledger,
                        lambda: None,
                        sharing=inherited(share),
                    )
                ),
                stores,
                [],
            )
            for share in listening.shares()
        ]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = Stores(tmp_path)
    yield opened
    opened.ledger.close()


def test_associations_are_spread_over_the_listeners(
    stores: Stores, shared: Callable[[DicomSettings], SharedListening]
) -> None:
    settings = dicom()
    with listeners(stores, settings, shared(settings)) as both, ExitStack() as stack:
        for _ in range(8):
            sender = stack.enter_context(Sender(settings.port, VERIFICATION))
            assert sender.echo() == SUCCESS
        held = [len(each.associations()) for each in both]
        assert (sum(held), min(held) > 0) == (8, True)


def test_the_limit_of_associations_holds_for_all_listeners_together(
    stores: Stores, shared: Callable[[DicomSettings], SharedListening]
) -> None:
    settings = dicom(maximum_associations_per_ae=3)
    with listeners(stores, settings, shared(settings)), ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(Sender(settings.port, VERIFICATION))
        with pytest.raises(Rejected):
            Sender(settings.port, VERIFICATION)


def test_a_listener_that_drains_leaves_the_port_to_the_other(
    stores: Stores, shared: Callable[[DicomSettings], SharedListening]
) -> None:
    settings = dicom()
    with listeners(stores, settings, shared(settings)) as (first, second):
        first.drain(5)
        for _ in range(4):
            with Sender(settings.port, VERIFICATION) as sender:
                assert sender.echo() == SUCCESS
        second.require_working()


def test_what_a_killed_listener_held_is_free_once_another_has_its_number(
    shared: Callable[[DicomSettings], SharedListening],
) -> None:
    settings = dicom(maximum_associations=2)
    first, second = shared(settings).shares()
    killed, other = AssociationLimits(settings, first), AssociationLimits(settings, second)
    assert [killed.take(ANYONE), other.take(ANYONE)] == [None, None]
    assert other.take(ANYONE) is Refused.LIMIT
    assert (killed.is_ahead(), other.is_ahead()) == (False, False)
    restarted = AssociationLimits(settings, first)
    assert (restarted.is_ahead(), other.is_ahead()) == (False, True)
    assert [restarted.take(ANYONE), restarted.take(ANYONE)] == [None, Refused.LIMIT]
    other.give_back(ANYONE)
    assert restarted.take(ANYONE) is None


def test_the_port_stays_taken_while_no_listener_runs(
    shared: Callable[[DicomSettings], SharedListening],
) -> None:
    settings = dicom()
    listening = shared(settings)
    with pytest.raises(PortInUseError, match=f"dicom.port {settings.port}: Address already in"):
        SharedListening(settings)
    assert accepts_connections(settings.port), "a sender that connects now waits"
    listening.close()
    assert not accepts_connections(settings.port)


@pytest.mark.parametrize("text", ["", "x", "1,2", "1,2,999999,999998"])
def test_a_variable_that_lobar_up_did_not_write_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="LOBAR_LISTENING"):
        Sharing.parse(text)


def test_a_descriptor_that_is_no_socket_is_refused(stores: Stores, tmp_path: Path) -> None:
    file = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    os.ftruncate(file, 1 << 16)
    sharing = Sharing(number=1, listeners=1, memory=file, sockets=(file,))
    listener = Listener(
        settings_for(stores.folder), stores.spool, stores.ledger, lambda: None, sharing=sharing
    )
    with pytest.raises(ConfigurationError, match="no listening socket"):
        listener.start()
    os.close(file)


def test_one_listener_that_is_killed_is_replaced_while_the_other_receives(tmp_path: Path) -> None:
    state_dir, port = tmp_path / "state", free_port()
    variables = {
        "LOBAR_STATE_DIR": str(state_dir),
        "LOBAR_DICOM__PORT": str(port),
        "LOBAR_DICOM__PROCESSES": "2",
        "LOBAR_REDIS__URL": f"redis://{LOOPBACK}:{free_port()}",
        "LOBAR_SPOOL__RESERVE_BYTES": "0",
    }
    prefix = ["env", *(f"{name}={value}" for name, value in variables.items())]
    supervisor = Server(
        [*prefix, sys.executable, "-c", ONLY_LISTENERS],
        log=tmp_path / "log",
        answers=lambda: accepts_connections(port),
    )
    supervisor.start()
    ledger = Ledger(f"sqlite:///{state_dir}/ledger.sqlite3")
    ledger.upgrade()  # the sockets are open before it is
    try:
        first = wait_for(lambda: two_that_run(ledger))
        with Sender(port, VERIFICATION) as sender:
            assert sender.echo() == SUCCESS
        os.kill(first[0], signal.SIGKILL)
        for _ in range(8):  # none waits for the one that is gone
            with Sender(port, VERIFICATION) as sender:
                assert sender.echo() == SUCCESS
        second = wait_for(lambda: two_that_run(ledger, but=first[0]))
        assert first[1] in second
    finally:
        supervisor.stop()
        ledger.close()
    assert not accepts_connections(port)
    events = [
        json.loads(line) for line in supervisor.log.read_text().splitlines() if line[0] == "{"
    ]
    assert [each["returncode"] for each in events if each["event"] == "part_died"] == [-9]


def two_that_run(ledger: Ledger, but: int = 0) -> list[int] | None:
    """Return the process numbers of two listeners whose heartbeats are ready."""
    beats = [each for each in ledger.heartbeats.alive(20) if each.role == "listener" and each.ready]
    found = sorted(int(each.holder.split("/")[2]) for each in beats)
    return found if len(found) == 2 and but not in found else None
