"""The steps of an acceptance run with a PACS over DIMSE."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

from service.dicom.reactor_pause import held
from service.dicom.sop_classes import RESULT_SYNTAXES
from service.dicom.statuses import SUCCESS
from service.dicom.storage_commitment import (
    STORAGE_COMMITMENT,
    SYNTAXES,
    InvalidError,
    Message,
    Request,
    new_transaction_uid,
    read_result,
)
from service.dicom.storage_commitment import (
    Result as CommitmentResult,
)
from service.domain.delivery import Reference
from service.domain.routing import OutputKind
from service.settings import DimseDestination, Settings
from workers.acceptance.kept import changed_attributes, in_words
from workers.acceptance.observation import Observation, Result
from workers.acceptance.steps import Stored, count_once, store_again, store_each
from workers.acceptance.study import SyntheticStudy
from workers.delivery.dimse import OFFERED, Sender, associate, entity_for, reach
from workers.delivery.storage_commitment.associations import open_request_association
from workers.delivery.stored_output import (
    NoResponseError,
    comprehensive_fallback,
    read_dataset,
    read_names,
)

_PENDING: Final = frozenset({0xFF00, 0xFF01})  # PS3.4 C.4.1.1.4
_MOST_FOUND: Final = 500  # identifiers; the study has a handful


def observe(
    settings: Settings,
    destination: DimseDestination,
    study: SyntheticStudy,
    *,
    repeats: int,
    commitment_seconds: float,
) -> Iterator[Observation]:
    """Try a PACS: negotiate, store, store again, commit, find and retrieve.

    Nothing is tried any more after a PACS that cannot be reached.
    """
    stored = Stored()
    title = settings.dicom.ae_title
    classes = sorted({*OFFERED, *(UID(each.reference.sop_class_uid) for each in study.objects)})
    began = time.monotonic()
    try:
        with associate(destination, title, classes) as sender:
            yield _echo(sender, 1000 * (time.monotonic() - began))
            yield from _negotiated(sender, classes)
            yield from store_each(sender, study, stored)
            yield store_again(sender, study, stored, repeats)
    except NoResponseError as error:
        yield Observation(step="Answers", result=Result.FAILED, detail=str(error))
        return
    yield _commit(settings, destination, stored, commitment_seconds)
    yield from _query_and_retrieve(destination, title, study, stored)


def _echo(sender: Sender, milliseconds: float) -> Observation:
    status = sender.echo()
    return Observation(
        step="Answers",
        result=Result.PASSED if status == SUCCESS else Result.FAILED,
        detail=f"C-ECHO 0x{status:04X}; the time is that of the association",
        milliseconds=(milliseconds,),
    )


def _negotiated(sender: Sender, classes: list[UID]) -> Iterator[Observation]:
    peer = sender.peer
    yield Observation(
        step="Names itself",
        result=Result.PASSED,
        detail=f"{peer.implementation or 'without a version name'}; "
        f"PDUs of up to {peer.maximum_pdu_bytes or 'any number of'} bytes",
    )
    for sop_class in classes:
        syntaxes = [UID(each).name for each in RESULT_SYNTAXES if sender.takes(sop_class, each)]
        yield Observation(
            step=f"Negotiates {sop_class.name}",
            result=Result.PASSED if syntaxes else Result.NOT_OFFERED,
            detail=", ".join(syntaxes),
        )


def _commit(
    settings: Settings, destination: DimseDestination, stored: Stored, seconds: float
) -> Observation:
    """Request storage commitment, and wait for the result on either association."""
    step = "Commits itself"
    # without the setting Lobar counts what was stored as delivered
    lacking = Result.FAILED if destination.storage_commitment else Result.NOT_OFFERED
    if not stored.taken:
        return Observation(step=step, result=Result.NOT_TRIED, detail="nothing was taken")
    awaited = _AwaitedResult(new_transaction_uid())
    request = Request(
        transaction_uid=awaited.transaction_uid, instances=tuple(stored.taken.values())
    )
    began = time.monotonic()
    try:
        with (
            _listening(settings, awaited) as listens,
            open_request_association(
                destination, settings.dicom.ae_title, awaited.receive
            ) as association,
        ):
            status = association.send(request)
            if status != SUCCESS:
                return Observation(
                    step=step, result=lacking, detail=f"the request is answered 0x{status:04X}"
                )
            awaited.came.wait(seconds)
    except NoResponseError as error:
        return Observation(step=step, result=lacking, detail=str(error))
    return _committed(awaited, stored, lacking, 1000 * (time.monotonic() - began), listens=listens)


def _committed(
    awaited: "_AwaitedResult",
    stored: Stored,
    lacking: Result,
    milliseconds: float,
    *,
    listens: bool,
) -> Observation:
    step = "Commits itself"
    if awaited.result is None and not listens:
        detail = (
            "the request is accepted; no result came on its association, and the listener's port "
            "is in use here, so that a later one was not seen: stop the service and try again"
        )
        return Observation(step=step, result=Result.NOT_TRIED, detail=detail)
    if awaited.result is None:
        detail = "the request is accepted, but no result came: does it know our address?"
        return Observation(step=step, result=lacking, detail=detail)
    committed = awaited.result.committed
    missing = [each for each in stored.taken.values() if each not in committed]
    where = "on another association" if awaited.came_to_listener else "on the same association"
    return Observation(
        step=step,
        result=Result.FAILED if missing else Result.PASSED,
        detail=f"{len(committed)} of {len(stored.taken)} objects, {where}",
        milliseconds=(milliseconds,),
    )


class _AwaitedResult:
    """The result of one request for commitment, on whichever association it comes."""

    def __init__(self, transaction_uid: str) -> None:
        self.transaction_uid = transaction_uid
        self.came = threading.Event()
        self.came_to_listener = False
        self.result: CommitmentResult | None = None

    def receive(self, message: Message) -> int:
        """Take a result, and return the status of the response to it."""
        try:
            result = read_result(message)
        except InvalidError as error:
            return error.status
        if result.transaction_uid == self.transaction_uid:
            self.result = result
            self.came.set()
        return SUCCESS

    def receive_event(self, event: Any) -> tuple[int, None]:  # noqa: ANN401 -- pynetdicom's events are made at run time
        """Take a result that comes on an association of its own."""
        request = event.request
        encoded = request.EventInformation
        self.came_to_listener = True
        message = Message(
            sop_class_uid=str(request.AffectedSOPClassUID or ""),
            sop_instance_uid=str(request.AffectedSOPInstanceUID or ""),
            type_id=request.EventTypeID,
            encoded=encoded.getvalue() if encoded is not None else b"",
            transfer_syntax_uid=str(event.context.transfer_syntax),
        )
        return self.receive(message), None


@contextmanager
def _listening(settings: Settings, awaited: _AwaitedResult) -> Iterator[bool]:
    """Listen where the listener would, for a result of commitment; False if its port is in use."""
    entity = AE(ae_title=settings.dicom.ae_title)
    entity.add_supported_context(STORAGE_COMMITMENT, list(SYNTAXES), scu_role=False, scp_role=True)
    entity.add_supported_context(Verification)
    try:
        server = entity.start_server(
            (settings.dicom.host, settings.dicom.port),
            block=False,
            evt_handlers=[(evt.EVT_N_EVENT_REPORT, awaited.receive_event)],
        )
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        if server is not None:
            server.shutdown()


def _query_and_retrieve(
    destination: DimseDestination, title: str, study: SyntheticStudy, stored: Stored
) -> Iterator[Observation]:
    """Search for the study (C-FIND), and retrieve the report (C-GET)."""
    names = ("Holds each object once", "Keeps the report as it was sent")
    if not stored.taken:
        yield from (_not_tried(step, "nothing was taken") for step in names)
        return
    entity = entity_for(destination, title)
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
    entity.add_requested_context(Verification)  # or the association fails without the others
    roles = []
    report = stored.taken.get(OutputKind.SR)
    if report is not None:
        entity.add_requested_context(report.sop_class_uid, list(RESULT_SYNTAXES))
        roles.append(build_role(UID(report.sop_class_uid), scp_role=True))
    kept: list[Dataset] = []
    try:
        association = reach(entity, destination, [(evt.EVT_C_STORE, _keep, [kept])], roles)
    except NoResponseError as error:
        yield from (_not_tried(step, str(error)) for step in names)
        return
    try:
        yield from _search(association, study, stored, kept)
    finally:
        if association.is_established:
            association.release()


def _search(
    association: Association, study: SyntheticStudy, stored: Stored, kept: list[Dataset]
) -> Iterator[Observation]:
    series = (
        _find(association, "SERIES", study, {})
        if _accepts(association, StudyRootQueryRetrieveInformationModelFind)
        else None
    )
    if series is None:
        yield _not_offered("Holds each object once", "no search (C-FIND) is answered")
        yield _not_offered("Keeps the report as it was sent", "not found without a search")
        return
    where: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for each in series:
        series_uid = str(each.get("SeriesInstanceUID", ""))
        found = _find(association, "IMAGE", study, {"SeriesInstanceUID": series_uid}) or []
        for instance in found:
            uid = str(instance.get("SOPInstanceUID", ""))
            counts[uid] += 1
            where[uid] = series_uid
    yield count_once(counts, stored)
    yield _retrieve(association, study, stored, where, kept)


def _find(
    association: Association, level: str, study: SyntheticStudy, keys: dict[str, str]
) -> list[Dataset] | None:
    """Return what is found at a level of the study; None if the search fails (PS3.4 C.4.1)."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    identifier.StudyInstanceUID = study.study_instance_uid
    identifier.SeriesInstanceUID = keys.get("SeriesInstanceUID", "")
    if level == "IMAGE":
        identifier.SOPInstanceUID = ""
    found: list[Dataset] = []
    model = StudyRootQueryRetrieveInformationModelFind
    try:
        with held(association):
            for status, instance in association.send_c_find(identifier, model):
                code = status.get("Status")
                if code in _PENDING and instance is not None and len(found) < _MOST_FOUND:
                    found.append(instance)
                elif code != SUCCESS and code not in _PENDING:
                    return None
    except (RuntimeError, ValueError):  # the association ended, or the model was not accepted
        return None
    return found


def _retrieve(
    association: Association,
    study: SyntheticStudy,
    stored: Stored,
    where: dict[str, str],
    kept: list[Dataset],
) -> Observation:
    """Retrieve the report (PS3.4 C.4.3), and compare it with what was sent."""
    step = "Keeps the report as it was sent"
    reference = stored.taken.get(OutputKind.SR)
    if reference is None or study.report is None or reference.sop_instance_uid not in where:
        return _not_tried(step, "no report is found")
    if not _accepts(association, StudyRootQueryRetrieveInformationModelGet):
        return _not_offered(step, "no retrieval (C-GET) is accepted")
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.StudyInstanceUID = study.study_instance_uid
    identifier.SeriesInstanceUID = where[reference.sop_instance_uid]
    identifier.SOPInstanceUID = reference.sop_instance_uid
    try:
        with held(association):
            for _status, _failed in association.send_c_get(
                identifier, StudyRootQueryRetrieveInformationModelGet
            ):
                pass
    except (RuntimeError, ValueError):
        return _not_offered(step, "the retrieval (C-GET) fails")
    if not kept:
        return _not_offered(step, "the retrieval (C-GET) returns nothing")
    changed = changed_attributes(sent_report(study, reference), kept[0])
    result = Result.FAILED if "ContentSequence" in changed else Result.PASSED
    return Observation(step=step, result=result, detail=in_words(changed))


def sent_report(study: SyntheticStudy, reference: Reference) -> Dataset:
    """Return the report as it was sent: itself, or its Comprehensive SR."""
    report = study.report
    if report is None:
        raise ValueError("the study has no report")
    dataset = read_dataset(report.path)
    if reference == report.reference:
        return dataset
    return comprehensive_fallback(dataset, read_names(report.path)).dataset


def _keep(event: Any, kept: list[Dataset]) -> int:  # noqa: ANN401 -- pynetdicom's events are made at run time
    kept.append(event.dataset)
    return SUCCESS


def _accepts(association: Association, sop_class: str) -> bool:
    return any(each.abstract_syntax == sop_class for each in association.accepted_contexts)


def _not_tried(step: str, why: str) -> Observation:
    return Observation(step=step, result=Result.NOT_TRIED, detail=why)


def _not_offered(step: str, why: str) -> Observation:
    return Observation(step=step, result=Result.NOT_OFFERED, detail=why)
