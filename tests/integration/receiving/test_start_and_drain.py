"""Tests of starting the listener and of draining it without losing a message in progress."""

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
from support.listener import CR, RunningListener, Stores, settings_for
from synthetic.objects import make_cr

from service.errors import EX_CONFIG, EX_TEMPFAIL
from service.receiving.listener import Listener
from service.receiving.listening import PortInUseError
from service.settings import ConfigurationError

Listen = Callable[..., AbstractContextManager[RunningListener]]


def listener_for(stores: Stores, **dicom: object) -> Listener:
    settings = settings_for(stores.folder, **dicom)
    return Listener(settings, stores.spool, stores.ledger, lambda: None)


def begin(sender: Sender) -> tuple[Dataset, bytes]:
    """Send half of an instance; return it and the bytes still to send."""
    dataset = make_cr(rows=256, columns=256)
    sent = data_set_bytes(dataset)
    sender.begin_store(CR, dataset.SOPInstanceUID)
    sender.send_fragments(1, sent[:50_000], is_command=False, is_whole=False)
    return dataset, sent[50_000:]


def wait_for_half(stores: Stores) -> None:
    until = time.monotonic() + 60
    while not stores.incoming():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_port_that_is_taken_is_a_clear_error(stores: Stores) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"dicom.port {port}: Address already in use"):
            listener_for(stores, port=port).start()
    assert PortInUseError.exit_status == EX_TEMPFAIL, "it is free again once the other has ended"


def test_an_address_of_another_machine_is_a_clear_error(stores: Stores) -> None:
    listener = listener_for(stores, host="192.0.2.1", allow_any_calling_ae_title=True)
    with pytest.raises(ConfigurationError, match=r"dicom.host 192\.0\.2\.1") as refused:
        listener.start()
    assert refused.value.exit_status == EX_CONFIG


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "pacs.example.org"])  # noqa: S104
def test_a_listener_open_to_others_needs_a_list_of_senders(stores: Stores, host: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        listener_for(stores, host=host)
    message = str(refused.value)
    assert "\n" not in message
    assert "dicom.allowed_calling_ae_titles" in message
    assert "dicom.allow_any_calling_ae_title" in message
    listener_for(stores, host=host, allowed_calling_ae_titles=("PACS",))
    listener_for(stores, host=host, allow_any_calling_ae_title=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_on_loopback_no_list_is_needed(stores: Stores, host: str) -> None:
    listener_for(stores, host=host)


def test_draining_completes_the_instance_in_progress_and_begins_no_other(
    listen: Listen,
) -> None:
    with listen() as listener, listener.sender() as sender:
        dataset, rest = begin(sender)
        wait_for_half(listener.stores)
        draining = threading.Thread(target=listener.drain, args=(60,))
        draining.start()
        wait_until_refused(listener)
        sender.send_fragments(1, rest, is_command=False)
        assert sender.status() == 0x0000
        sender.begin_store(CR, "1.2.3")
        assert sender.is_closed_upon()
        draining.join()
        assert listener.kept_data_set(dataset.SOPInstanceUID) == data_set_bytes(dataset)


def test_draining_ends_idle_associations_and_lingering_connections(listen: Listen) -> None:
    with (
        listen() as listener,
        listener.sender() as idle,
        socket.create_connection(("127.0.0.1", listener.port)) as silent,
    ):
        listener.drain(60)
        assert idle.is_closed_upon()
        with contextlib.suppress(ConnectionResetError):
            assert silent.recv(100) == b""
        assert not listener.associations()


def test_draining_waits_for_a_stalled_sender_only_as_long_as_given(listen: Listen) -> None:
    with listen() as listener, listener.sender() as sender:
        begin(sender)
        wait_for_half(listener.stores)
        listener.drain(0.1)
        assert sender.is_closed_upon()
        assert listener.stores.incoming() == []


def test_a_drained_port_is_free(stores: Stores) -> None:
    settings = settings_for(stores.folder)
    for _ in range(2):
        listener = Listener(settings, stores.spool, stores.ledger, lambda: None)
        listener.start()
        assert listener.port == settings.dicom.port
        listener.drain(0)


def test_a_listener_that_was_not_started_has_no_port(stores: Stores) -> None:
    with pytest.raises(RuntimeError):
        _ = listener_for(stores).port


def wait_until_refused(listener: RunningListener) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", listener.port), timeout=1).close()
        except OSError:
            return
        time.sleep(0.02)
    raise AssertionError("the listener still accepts connections")


def test_the_state_directory_is_not_needed_to_refuse(tmp_path: Path, stores: Stores) -> None:
    settings = settings_for(tmp_path / "nowhere", host="192.0.2.1")
    with pytest.raises(ConfigurationError):
        Listener(settings, stores.spool, stores.ledger, lambda: None)
