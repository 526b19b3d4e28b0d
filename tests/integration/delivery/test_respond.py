"""Storage commitment as SCP: results reach their senders, however long these are unreachable."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from peers.committing_pacs import CLASS
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from support.inference_worker import PACS, Workspace
from support.system.ports import LOOPBACK, free_port
from synthetic.objects import make_cr

from service.domain.delivery import Reference
from service.settings import CommitmentPeer, DicomSettings
from service.telemetry.metrics import COMMITMENT_RESULTS
from workers.delivery.context import DeliveryContext
from workers.delivery.storage_commitment.respond import CommitmentResponder

CR = "1.2.840.10008.5.1.4.1.1.1"
SENDER = "MODALITY"
DAY = 86_400


class Senders:
    """A workspace that knows one sender's address, and the sender, when it listens."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        peer = CommitmentPeer(ae_title=SENDER, host=LOOPBACK, port=self.port)
        self.workspace = Workspace(
            folder,
            dicom=DicomSettings(commitment_peers=(peer,)),
            destinations=({**PACS, "port": free_port()},),
            deliver={"maximum_refusals": 3},
        )
        self.ledger, self.clock = self.workspace.ledger, self.workspace.clock
        context = DeliveryContext(
            settings=self.workspace.settings,
            ledger=self.ledger,
            spool=self.workspace.spool,
            holder="test/deliver/1/",
        )
        self.responder = CommitmentResponder(context)
        self.received: list[tuple[int, Dataset]] = []
        self.is_scu: list[bool] = []  # its role on each association
        self.status = 0x0000

    @contextmanager
    def listening(self, *, as_scu: bool = True) -> Iterator[None]:
        ae = AE(ae_title=SENDER)
        role = True if as_scu else None
        abstract_syntax = CLASS if as_scu else "1.2.840.10008.1.1"
        ae.add_supported_context(abstract_syntax, scu_role=role, scp_role=role)
        server = ae.start_server(
            (LOOPBACK, self.port),
            block=False,
            evt_handlers=[
                (evt.EVT_N_EVENT_REPORT, self._receive),
                (evt.EVT_ESTABLISHED, self._count),
            ],
        )
        assert server is not None
        yield
        server.shutdown()

    def _receive(self, event: Any) -> tuple[int, None]:  # noqa: ANN401 -- pynetdicom's
        self.received.append((event.event_type, event.event_information))
        return self.status, None

    def _count(self, event: Any) -> None:  # noqa: ANN401 -- as above
        self.is_scu.append(event.assoc.accepted_contexts[0].as_scu)

    def receive(self) -> Reference:
        """Take an instance in."""
        dataset = make_cr(rows=8, columns=8)
        self.workspace.receive(dataset)
        return Reference(CR, str(dataset.SOPInstanceUID))

    def ask(self, transaction_uid: str, *instances: Reference, ae_title: str = SENDER) -> None:
        self.ledger.commitment_requests.receive(ae_title, transaction_uid, instances)

    def waiting(self) -> int | None:
        """How many are due; None if no request is open."""
        due = self.ledger.queries.due()
        return None if due.oldest_answer_at is None else due.answer


@pytest.fixture
def senders(tmp_path: Path) -> Iterator[Senders]:
    made = Senders(tmp_path)
    yield made
    made.ledger.close()


def counted(outcome: str) -> float:
    return float(COMMITMENT_RESULTS.labels(outcome=outcome)._value.get())


def test_all_results_that_are_due_go_over_one_association(senders: Senders) -> None:
    here, gone = senders.receive(), Reference(CR, "1.2.3.4.5")
    senders.ask("1.2.1", here)
    senders.ask("1.2.2", here, gone)
    with senders.listening():
        senders.responder.respond_due()
    (_, first), (_, second) = senders.received
    assert [event_type for event_type, _ in senders.received] == [1, 2]
    assert (first.TransactionUID, second.TransactionUID) == ("1.2.1", "1.2.2")
    assert [each.ReferencedSOPInstanceUID for each in first.ReferencedSOPSequence] == [
        here.sop_instance_uid
    ]
    (failed,) = second.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == ("1.2.3.4.5", 0x0112)
    assert senders.is_scu == [True], "one association, and it is the SCU there too"
    assert senders.waiting() is None
    (job,) = senders.ledger.queries.find(here.sop_instance_uid)
    assert senders.workspace.names(job.id).count("instance-committed") == 2


def test_a_request_is_evaluated_when_its_result_is_sent(senders: Senders) -> None:
    here = senders.receive()
    senders.ask("1.2.1", here)
    senders.responder.respond_due()
    assert senders.waiting() == 0, "the sender was unreachable, and the request waits"
    (job,) = senders.ledger.queries.find(here.sop_instance_uid)
    senders.workspace.spool.discard(job.id)
    senders.clock.pass_seconds(1000)
    with senders.listening():
        senders.responder.respond_due()
    assert [event_type for event_type, _ in senders.received] == [2]
    assert senders.waiting() is None


def test_an_unreachable_sender_gets_the_result_when_it_is_back(senders: Senders) -> None:
    senders.ask("1.2.1", senders.receive())
    before = counted("unreachable")
    for attempt in (1, 2, 3):
        senders.responder.respond_due()
        assert counted("unreachable") == before + attempt
        senders.clock.pass_seconds(1000)
    with senders.listening():
        senders.responder.respond_due()
    assert len(senders.received) == 1
    assert senders.waiting() is None


def test_a_sender_unreachable_for_too_long_is_given_up(senders: Senders) -> None:
    senders.clock.pass_seconds(-8 * DAY)
    senders.ask("1.2.1", senders.receive())
    senders.clock.pass_seconds(8 * DAY)
    before = counted("given-up")
    senders.responder.respond_due()
    assert senders.waiting() is None
    assert counted("given-up") == before + 1


@pytest.mark.parametrize("as_scu", [True, False])
def test_a_sender_that_refuses_the_result_is_tried_only_so_often(
    senders: Senders, *, as_scu: bool
) -> None:
    senders.ask("1.2.1", senders.receive())
    senders.status = 0x0110
    before = counted("given-up")
    with senders.listening(as_scu=as_scu):
        for _ in range(2):
            senders.responder.respond_due()
            assert senders.waiting() == 0
            senders.clock.pass_seconds(1000)
        senders.responder.respond_due()
    if as_scu:
        assert len(senders.received) == 3
        assert senders.waiting() is None
        assert counted("given-up") == before + 1
    else:
        assert senders.waiting() == 0, "it may come to support the class, and is tried for days"


def test_a_sender_whose_address_was_removed_is_given_up_and_delays_no_other(
    senders: Senders,
) -> None:
    here = senders.receive()
    senders.ask("1.2.1", here, ae_title="GONE")
    senders.ask("1.2.2", here)
    with senders.listening():
        senders.responder.respond_due()
    assert len(senders.received) == 1
    assert senders.waiting() is None
