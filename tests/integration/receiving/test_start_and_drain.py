"""The listener starts with a clear word or not at all, and stops without cutting anyone off."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from peers.raw_scu import Sender, data_set_bytes
from pydicom.dataset import Dataset
from support.listener import CR, Door, Memory, settings_for
from synthetic.objects import make_cr

from service.receiving.listener import Listener
from service.settings import ConfigurationError

Listen = Callable[..., AbstractContextManager[Door]]


def listener_for(memory: Memory, **dicom: object) -> Listener:
    settings = settings_for(memory.folder, **dicom)
    return Listener(settings, memory.spool, memory.ledger, lambda: None)


def begin(sender: Sender) -> tuple[Dataset, bytes]:
    """Send half of an instance; gives it and what is still to send."""
    dataset = make_cr(rows=256, columns=256)
    sent = data_set_bytes(dataset)
    sender.begin_store(CR, dataset.SOPInstanceUID)
    sender.send_fragments(1, sent[:50_000], is_command=False, is_whole=False)
    return dataset, sent[50_000:]


def wait_for_half(memory: Memory) -> None:
    until = time.monotonic() + 60
    while not memory.incoming():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_port_that_is_taken_is_a_clear_word(memory: Memory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"dicom.port {port}: Address already in use"):
            listener_for(memory, port=port).start()


def test_an_address_that_is_not_ours_is_a_clear_word(memory: Memory) -> None:
    listener = listener_for(memory, host="192.0.2.1", allow_any_calling_ae_title=True)
    with pytest.raises(ConfigurationError, match=r"dicom.host 192\.0\.2\.1"):
        listener.start()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "pacs.example.org"])  # noqa: S104
def test_a_door_to_others_without_a_list_of_guests_is_not_opened(memory: Memory, host: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        listener_for(memory, host=host)
    message = str(refused.value)
    assert "\n" not in message
    assert "dicom.allowed_calling_ae_titles" in message
    assert "dicom.allow_any_calling_ae_title" in message
    listener_for(memory, host=host, allowed_calling_ae_titles=("PACS",))
    listener_for(memory, host=host, allow_any_calling_ae_title=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_loopback_no_list_is_needed(memory: Memory, host: str) -> None:
    listener_for(memory, host=host)


def test_draining_lets_the_instance_under_way_come_in_and_begins_no_other(
    listen: Listen,
) -> None:
    with listen() as door, door.sender() as sender:
        dataset, rest = begin(sender)
        wait_for_half(door.memory)
        draining = threading.Thread(target=door.listener.drain, args=(60,))
        draining.start()
        wait_until_refused(door)
        sender.send_fragments(1, rest, is_command=False)
        assert sender.status() == 0x0000
        sender.begin_store(CR, "1.2.3")
        assert sender.is_closed_upon()
        draining.join()
        assert door.kept_data_set(dataset.SOPInstanceUID) == data_set_bytes(dataset)


def test_draining_ends_idle_associations_and_lingering_connections(listen: Listen) -> None:
    with (
        listen() as door,
        door.sender() as idle,
        socket.create_connection(("127.0.0.1", door.port)) as silent,
    ):
        door.listener.drain(60)
        assert idle.is_closed_upon()
        with contextlib.suppress(ConnectionResetError):
            assert silent.recv(100) == b""
        assert not door.listener._started().associations()


def test_draining_waits_no_longer_than_told_for_who_does_not_go_on(listen: Listen) -> None:
    with listen() as door, door.sender() as sender:
        begin(sender)
        wait_for_half(door.memory)
        door.listener.drain(0.1)
        assert sender.is_closed_upon()
        assert door.memory.incoming() == []


def test_a_drained_port_is_free(memory: Memory) -> None:
    settings = settings_for(memory.folder)
    for _ in range(2):
        listener = Listener(settings, memory.spool, memory.ledger, lambda: None)
        listener.start()
        assert listener.port == settings.dicom.port
        listener.drain(0)


def test_a_listener_that_was_not_started_has_no_port(memory: Memory) -> None:
    with pytest.raises(RuntimeError):
        _ = listener_for(memory).port


def wait_until_refused(door: Door) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", door.port), timeout=1).close()
        except OSError:
            return
        time.sleep(0.02)
    raise AssertionError("the listener still accepts connections")


def test_the_state_directory_is_not_needed_to_refuse(tmp_path: Path, memory: Memory) -> None:
    settings = settings_for(tmp_path / "nowhere", host="192.0.2.1")
    with pytest.raises(ConfigurationError):
        Listener(settings, memory.spool, memory.ledger, lambda: None)
