"""Tests of a full disk: instances are refused, nothing is kept, and reception resumes."""

import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from structlog.testing import capture_logs
from support.listener import RunningListener, Stores, listening
from support.system.small_disk import SmallDisk, small_disk
from synthetic.objects import make_cr

from service.receiving.acceptance import StoreCommand
from service.receiving.ingest import Ingest
from service.receiving.listener.c_store import CStoreHandler, PresentationContext
from service.storage.spool import Spool

OUT_OF_RESOURCES = 0xA700
DISK_BYTES = 4 << 20
CR = "1.2.840.10008.5.1.4.1.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", DISK_BYTES) as disk:
        yield disk


@pytest.fixture
def listener(disk: SmallDisk, tmp_path: Path) -> Iterator[RunningListener]:
    """A listener whose spool is on the small disk, and whose ledger is not."""
    stores = Stores(disk.folder, f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    with listening(stores) as listener:
        yield listener
    stores.ledger.close()


def small() -> Dataset:
    return make_cr(rows=64, columns=64)


def large() -> Dataset:
    return make_cr(rows=2048, columns=2048)


def test_a_disk_that_fills_while_an_instance_comes_in_refuses_it(
    listener: RunningListener, disk: SmallDisk
) -> None:
    free = disk.free_bytes()
    with capture_logs() as logs:
        assert listener.store(large()) == OUT_OF_RESOURCES
    assert listener.stores.incoming() == []
    assert listener.stores.inbox() == []
    assert disk.free_bytes() == free
    assert [each["reason"] for each in logs if each["event"] == "instance_rejected"] == [
        "out-of-resources"
    ]
    listener.require_working()


def test_a_disk_that_is_full_to_the_last_byte_refuses_and_takes_again_when_there_is_room(
    listener: RunningListener, disk: SmallDisk
) -> None:
    disk.fill()
    for _ in range(3):
        assert listener.store(small()) == OUT_OF_RESOURCES
    assert listener.stores.incoming() == []
    disk.make_room()
    listener.require_working()


@pytest.mark.parametrize("room", [100, 4096, 8192])
def test_a_disk_with_room_for_the_beginning_only_refuses(
    listener: RunningListener, disk: SmallDisk, room: int
) -> None:
    disk.fill(but=room)
    assert listener.store(small()) == OUT_OF_RESOURCES
    assert listener.stores.incoming() == []
    disk.make_room()
    listener.require_working()


def test_an_association_goes_on_past_a_full_disk(
    listener: RunningListener, disk: SmallDisk
) -> None:
    first, second = small(), small()
    disk.fill()
    with ThreadPoolExecutor(4) as senders:
        statuses = list(senders.map(listener.store, [small() for _ in range(8)]))
    assert statuses == [OUT_OF_RESOURCES] * 8
    assert listener.store(first) == OUT_OF_RESOURCES
    disk.make_room()
    assert listener.store(first) == listener.store(second) == 0x0000


@pytest.mark.dcmtk
def test_dcmtk_gets_out_of_resources(
    listener: RunningListener,
    tmp_path: Path,
    dcmtk_store: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    file = tmp_path / "large.dcm"
    large().save_as(file, enforce_file_format=True)
    done = dcmtk_store(listener.port, "LOBAR", [file])
    assert "Refused: OutOfResources" in done.stdout + done.stderr
    assert listener.stores.incoming() == []


def test_below_the_reserve_nothing_is_written_and_above_it_again(stores: Stores) -> None:
    free = stores.spool.free_bytes()
    full, ample = Spool(stores.spool.root, reserve_bytes=2 * free), stores.spool
    inbox = stores.inbox()
    stores.spool = full
    try:
        with listening(stores) as listener:
            assert listener.store(small()) == OUT_OF_RESOURCES
        assert stores.inbox() == inbox
    finally:
        stores.spool = ample
    with listening(stores) as listener:
        listener.require_working()


def test_receiving_does_not_begin_again_before_an_eighth_more_than_the_reserve_is_free(
    listener: RunningListener, disk: SmallDisk
) -> None:
    reserve = 1 << 20
    spool = Spool(listener.stores.spool.root, reserve_bytes=reserve)
    with capture_logs() as logs:
        assert spool.has_room()
        disk.fill(but=reserve)
        assert [spool.has_room() for _ in range(3)] == [False] * 3
        report = spool.put_output("a" * 32, "sr", "2.25.1", bytes(8192))
        disk.make_room()
        disk.fill(but=reserve + reserve // 16)
        assert (spool.free_bytes() > 0, spool.has_room()) == (True, False)
        disk.make_room()
        disk.fill(but=reserve + reserve // 4)
        assert spool.has_room()
    assert report.stat().st_size == 8192, "what was received is still reported"
    assert [each["event"] for each in logs] == ["spool_at_reserve", "spool_has_room"]


def test_an_instance_is_cut_off_where_it_would_use_up_the_reserve(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 16 << 20) as disk:
        stores = Stores(disk.folder, f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
        spool = Spool(stores.spool.root, reserve_bytes=8 << 20)
        ingest = Ingest(spool, stores.ledger, lambda: None)
        handler = CStoreHandler(spool=spool, ingest=ingest, maximum_instance_bytes=1 << 30)
        command = StoreCommand(sop_class_uid=CR, sop_instance_uid="1.2.3")
        context = PresentationContext(
            abstract_syntax_uid=CR, transfer_syntax_uid=EXPLICIT, calling_ae_title="MODALITY"
        )
        coming = handler.open(command, context)
        for _ in range(14):
            coming.write(bytes(1 << 20))
        assert stores.incoming() == [], "before its end"
        assert disk.free_bytes() > 8 << 20
        assert coming.finish() == OUT_OF_RESOURCES
        stores.ledger.close()
