"""Several nodes over one PostgreSQL, one Redis and one spool: whichever ends, nothing is lost.

Each node is a machine of its own as far as namespaces can make one (`support.nodes`): its network,
host name, processes, mounts, boot and uptime. Without the right to make them the tests are skipped.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from support.lobar_process import wait_for
from support.nodes.newer_version import newer_version
from support.nodes.node import Node
from support.nodes.site import Site
from support.system.process import ServerError

from service.domain.job import JobState
from service.domain.part import PartName
from service.storage.ledger import Ledger
from service.storage.spool import Spool
from service.storage.spool_identity import require_own_spool

pytestmark = [
    *(pytest.mark.slow, pytest.mark.containers),
    *(pytest.mark.postgresql, pytest.mark.dcmtk),
]


@contextmanager
def running_site(folder: Path, names: Sequence[str]) -> Iterator[Site]:
    # PostgreSQL is not in pytest's folder: see `peers.postgresql`
    with (
        tempfile.TemporaryDirectory(prefix="lobar-nodes-") as database,
        Site(folder, names, Path(database)).running() as site,
    ):
        yield site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """What the nodes share in the tests that always run."""
    with running_site(tmp_path_factory.mktemp("site"), ["a", "b", "unmounted"]) as site:
        yield site


@pytest.fixture
def site_of(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """`site_of(names)` runs what nodes of these names share, for this test alone."""
    with ExitStack() as stack:
        yield lambda names: stack.enter_context(running_site(tmp_path, names))


def freeze_at_work(site: Site, node: Node, others: Sequence[Node]) -> None:
    """Store instances until this node has a job and a delivery in work, and stop it there."""
    for role in (PartName.INFER, PartName.DELIVER):
        for other in others:
            other.freeze(role)

        def is_frozen(role: PartName = role) -> bool:
            with ThreadPoolExecutor(1) as modality:
                stored = modality.submit(site.store, others[0], 4)
                frozen = node.freeze_at_work(role)
                stored.result()
            return frozen

        wait_for(is_frozen)
        for other in others:
            other.thaw(role)


def test_what_a_killed_node_had_in_work_is_done_by_the_other_whatever_their_clocks_say(
    site: Site,
) -> None:
    a, b = site.node("a", seconds_ahead=7), site.node("b", seconds_ahead=-5)
    a.start()
    b.start()
    site.store(a, 3)
    site.store(b, 3)
    freeze_at_work(site, a, [b])
    held = [job for job in site.jobs() if (job.holder or "").startswith("a/")]
    a.kill()
    unanswered = site.store(a, 2)
    assert len(unanswered) == 2  # the sender keeps them, and finds another listener
    assert site.store_again(b, unanswered) == []
    site.settle()
    assert site.verdict().faults == []
    assert {job.state for job in site.jobs()} == {JobState.DELIVERED}
    for job in held:
        assert [each.split("/")[0] for each in site.concluded_by(job)][-2:] == ["a", "b"]
    status = b.run("status")
    assert parts_by_machine(status.stdout)["b"] == {*PartName}, status.stderr


def parts_by_machine(printed: str) -> dict[str, set[str]]:
    """Read the parts of each machine from the output of `lobar status`."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in printed.partition("Parts")[2].splitlines():
        cells = [cell.strip() for cell in line.split("│")[1:-1]]
        if cells:
            found[cells[0]].add(cells[1])
    return found


def test_a_node_whose_share_is_not_mounted_ends_before_it_takes_anything(site: Site) -> None:
    with closing(Ledger(site.ledger_url)) as ledger:
        ledger.upgrade()
        spool = Spool(site.spool)
        spool.prepare()
        require_own_spool(ledger, spool)
        before = ledger.queries.job_counts()
        node = site.node("unmounted", is_mounted=False)
        with pytest.raises(ServerError, match="is not the spool of this ledger"):
            node.start()
        assert ledger.queries.job_counts() == before
        assert "unmounted" not in {each.machine for each in ledger.heartbeats.alive(60)}


@pytest.mark.full
def test_four_nodes_of_which_two_are_killed_and_one_is_cut_off_lose_and_double_nothing(
    site_of: Callable[..., Site],
) -> None:
    names = ["a", "b", "c", "d"]
    site = site_of(names)
    clocks = {"a": 30.0, "b": -30.0, "c": 3.0, "d": None}
    nodes = [site.node(name, seconds_ahead=clocks[name]) for name in names]
    a, b, c, d = nodes
    for node in nodes:
        node.start()
    for node in nodes:
        site.store(node, 5)
    freeze_at_work(site, a, [b, c, d])
    a.kill()
    freeze_at_work(site, b, [c, d])
    site.cut("b")  # it goes on, and reaches neither ledger nor PACS
    b.thaw(PartName.INFER)
    b.thaw(PartName.DELIVER)
    for node in (c, d):
        site.store(node, 5)
    freeze_at_work(site, c, [d])
    c.kill()
    site.store(d, 5)
    site.cut("b", is_cut=False)
    site.settle()
    b.wait_until_ready()
    a.start()
    site.store(a, 3)
    site.store(b, 3)
    site.settle()
    assert site.verdict().faults == []


@pytest.mark.full
def test_nodes_are_upgraded_one_after_another_while_instances_come(
    site_of: Callable[..., Site], tmp_path: Path
) -> None:
    site = site_of(["a", "b"])
    a, b = site.node("a"), site.node("b", source=newer_version(tmp_path / "newer"))
    a.start()
    site.store(a, 4)
    b.start()  # and migrates the ledger, while the older one is at work
    assert site.revision() == "9999"
    site.store(a, 4)
    site.store(b, 4)
    for role in (PartName.INFER, PartName.DELIVER, PartName.LISTENER):
        a.end(role)  # the supervisor starts it anew, on the newer ledger
    wait_for(a.is_ready)
    b.stop()
    site.store(a, 4)
    site.settle()
    assert site.verdict().faults == []
    assert "part_died" in a.log.read_text()
    assert {job.state for job in site.jobs()} == {JobState.DELIVERED}


@pytest.mark.full
def test_nodes_of_the_same_host_name_do_work_twice_and_record_it_once(
    site_of: Callable[..., Site],
) -> None:
    site = site_of(["a", "b"])
    a, b = site.node("a"), site.node("b", host_name="a")
    a.start()
    site.store(a, 6)
    b.start()  # it releases what the other has leased
    site.store(b, 6)
    b.kill()
    b.start()
    site.store(a, 6)
    site.settle()
    assert site.verdict().faults == []
