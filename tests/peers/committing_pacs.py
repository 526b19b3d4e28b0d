"""A scripted PACS for storage commitment: a test chooses its results and how they are sent."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModelInstance, uid_to_sop_class
from support.system.ports import LOOPBACK

from peers.scripted_pacs import ScriptedPacs
from service.dicom.reactor_pause import held, install

CLASS: Final = uid_to_sop_class("1.2.840.10008.1.20.1")
INSTANCE: Final = StorageCommitmentPushModelInstance
Where = Literal["here", "elsewhere", "nowhere"]
AFTER_THE_ANSWER: Final = 0.05  # seconds


@dataclass
class Asked:
    """One N-ACTION: its Transaction UID, and the class and UID of each instance."""

    transaction_uid: str
    instances: list[tuple[str, str]]


@dataclass
class CommittingPacs(ScriptedPacs):
    """The result for each instance (0: committed), and where it is sent: here, or to `tells`."""

    commits: Callable[[str], int] = lambda _: 0
    where: Where = "here"
    action_status: int = 0x0000
    tells: tuple[str, int] | None = None  # AE title and port of the receiver, on a new association
    asked: list[Asked] = field(default_factory=list)
    answers: list[int] = field(
        default_factory=list
    )  # statuses of the responses to its N-EVENT-REPORTs

    def handlers(self) -> list[Any]:
        return [*super().handlers(), (evt.EVT_N_ACTION, self._asked)]

    def contexts(self) -> Sequence[tuple[str, str]]:
        return [*super().contexts(), (CLASS, "1.2.840.10008.1.2.1")]

    def _asked(self, event: Any) -> tuple[int, None]:  # noqa: ANN401 -- pynetdicom's
        information = event.action_information
        named = [
            (str(each.ReferencedSOPClassUID), str(each.ReferencedSOPInstanceUID))
            for each in information.ReferencedSOPSequence
        ]
        asked = Asked(str(information.TransactionUID), named)
        self.asked.append(asked)
        if self.action_status == 0 and self.where != "nowhere":
            threading.Timer(AFTER_THE_ANSWER, self.tell, [asked, event.assoc]).start()
        return self.action_status, None

    def tell(self, asked: Asked, here: Association | None = None) -> None:
        """Send the result of a request."""
        if self.where == "here" and here is not None:
            self.answers.append(send_result(here, asked, self.commits))
            return
        assert self.tells is not None
        with telling(*self.tells, calling=self.ae_title) as association:
            self.answers.append(send_result(association, asked, self.commits))


def send_result(
    association: Association, asked: Asked, commits: Callable[[str], int] = lambda _: 0
) -> int:
    """Send N-EVENT-REPORT and return the status of the response."""
    failed = [(named, commits(named[1])) for named in asked.instances if commits(named[1])]
    committed = [(named, 0) for named in asked.instances if not commits(named[1])]
    information = Dataset()
    information.TransactionUID = asked.transaction_uid
    information.ReferencedSOPSequence = [referenced(*named) for named, _ in committed]
    if failed:
        information.FailedSOPSequence = [
            referenced(*named, failure=reason) for named, reason in failed
        ]
    event_type = 2 if failed else 1
    with held(association):
        status, _ = association.send_n_event_report(information, event_type, CLASS, INSTANCE)
    return int(status.Status)


def referenced(sop_class: str, sop_instance: str, failure: int | None = None) -> Dataset:
    """Build the sequence item that references an instance."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = sop_instance
    if failure is not None:
        item.FailureReason = failure
    return item


@contextmanager
def telling(ae_title: str, port: int, *, calling: str) -> Iterator[Association]:
    """Associate as an SCP that has a result to send."""
    ae = AE(ae_title=calling)
    ae.add_requested_context(CLASS, "1.2.840.10008.1.2.1")
    role = build_role(CLASS, scp_role=True)
    association = ae.associate(LOOPBACK, port, ae_title=ae_title, ext_neg=[role])
    assert association.is_established
    install(association)
    assert association.accepted_contexts[0].as_scp
    yield association
    association.release()
