"""The power is cut at every step of receive, report and deliver: nothing answered is lost.

The disk is a stand-in for one (`peers/losing_disk`).
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
from peers.losing_disk.cut import ONLY_SYNCED, lay_out
from peers.losing_disk.model import Operation
from peers.losing_disk.mount import losing_disk
from peers.scripted_pacs import ScriptedPacs
from support.delivery_worker import DeliverySetup
from support.power_cuts import STATE, Cut, Life, cuts, infer, live, losses

from service.domain.job import JobState

ORDERED: Final = pytest.mark.parametrize("ordered", [False, True], ids=["loose", "ordered"])
MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- hundreds of folders are written and removed
Matches = Callable[[Operation], bool]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    pacs = ScriptedPacs()
    with losing_disk(tmp_path_factory.mktemp("power")) as disk, pacs.running():
        return live(disk, pacs)


@pytest.fixture(scope="module")
def bench() -> Iterator[Path]:
    """Return a folder for what is left after a cut, in memory where there is such a disk."""
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lobar-cut-", dir=place) as folder:
        yield Path(folder)


def verdict(life: Life, made: Cut, bench: Path) -> list[str]:
    """Lay out what is left after a cut, and list what is lost."""
    left = lay_out(made.tree, bench / "left")
    try:
        return [f"{loss}: {made}" for loss in losses(life, made, left)]
    finally:
        shutil.rmtree(left)


@ORDERED
def test_nothing_answered_is_lost_at_any_step(
    life: Life,
    bench: Path,
    ordered: bool,  # noqa: FBT001
    pytestconfig: pytest.Config,
) -> None:
    full = bool(pytestconfig.getoption("--full"))
    seeds = (ONLY_SYNCED, *range(10 if full else 1))
    made = [
        each
        for each in cuts(life.operations, seeds, ordered=ordered, every=full)
        if "started" in each.marks
    ]
    print(f"{len(made)} states of the disk")
    assert [loss for each in made for loss in verdict(life, each, bench)] == []
    assert {len(each.promised("answered")) for each in made} == {0, 1, 2, 3}
