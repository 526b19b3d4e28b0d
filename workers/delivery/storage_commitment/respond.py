"""Tells senders what we commit ourselves to, over an association of our own (PS3.4 J.3.3)."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import structlog

from service.commitment.evaluation import evaluate
from service.dicom.statuses import (
    SUCCESS,
)
from service.storage.ledger import LedgerError
from service.storage.ledger.commitment_requests import OpenRequest
from service.telemetry.metrics import COMMITMENT_RESULTS, COMMITTED_INSTANCES
from workers.delivery.context import Rooms, is_too_old, kept, pause
from workers.delivery.storage_commitment.associations import Teller, telling
from workers.delivery.stored_output import NoResponseError

AT_ONCE: Final = 32  # requests in one lease

log = structlog.get_logger()


def answer_due(rooms: Rooms) -> None:
    """Tell every sender that is to be told, one association for each."""
    while not rooms.stopping.is_set():
        requests = rooms.ledger.commitment_requests.lease(
            rooms.holder, AT_ONCE, lease_seconds=rooms.settings.deliver.lease_seconds
        )
        if not requests:
            return
        by_sender = sorted(requests, key=lambda each: each.calling_ae_title)
        for ae_title, of_sender in groupby(by_sender, key=lambda each: each.calling_ae_title):
            _answer(rooms, ae_title, list(of_sender))


def _answer(rooms: Rooms, ae_title: str, requests: Sequence[OpenRequest]) -> None:
    """Tell one sender all that is due; what does not get through is due again later."""
    peer = rooms.settings.commitment_peer(ae_title)
    if peer is None:  # its address was taken from the configuration meanwhile
        for request in requests:
            _give_up(rooms, request, "unknown-address")
        return
    waiting = list(requests)
    try:
        with telling(peer, rooms.settings.dicom.ae_title) as teller:
            while waiting and not rooms.stopping.is_set():
                _try_to_tell(rooms, teller, waiting[0])
                waiting.pop(0)
    except NoResponseError as exc:
        log.warning(
            "commitment_result_undelivered",
            ae_title=ae_title,
            reason=str(exc),
            count=len(waiting),
        )
        for request in waiting:
            COMMITMENT_RESULTS.labels(outcome="unreachable").inc()
            _again(rooms, request)
        return
    for request in waiting:
        kept(rooms.ledger.commitment_requests.put_off, request, again_in=0)


def _try_to_tell(rooms: Rooms, teller: Teller, request: OpenRequest) -> None:
    try:
        _tell(rooms, teller, request)
    except (NoResponseError, LedgerError):
        raise
    except Exception:  # one request's trouble must not become its sender's
        log.exception("commitment_result_failed", ae_title=request.calling_ae_title)
        _again(rooms, request, refused=True)


def _tell(rooms: Rooms, teller: Teller, request: OpenRequest) -> None:
    custody = evaluate(rooms.ledger, rooms.spool, request.transaction_uid, request.instances)
    status = teller.tell(custody.result)
    if status != SUCCESS:
        COMMITMENT_RESULTS.labels(outcome="refused").inc()
        log.warning(
            "commitment_result_refused",
            ae_title=request.calling_ae_title,
            status=f"0x{status:04X}",
        )
        _again(rooms, request, refused=True)
        return
    COMMITMENT_RESULTS.labels(outcome="told").inc()
    COMMITTED_INSTANCES.labels(outcome="committed").inc(len(custody.result.committed))
    COMMITTED_INSTANCES.labels(outcome="failed").inc(len(custody.result.failed))
    log.info(
        "commitment_result_told",
        ae_title=request.calling_ae_title,
        instances=len(request.instances),
    )
    kept(rooms.ledger.commitment_requests.told, request, custody.job_ids)


def _again(rooms: Rooms, request: OpenRequest, *, refused: bool = False) -> None:
    too_often = refused and request.refusals + 1 >= rooms.settings.deliver.maximum_refusals
    if too_often or is_too_old(rooms, request.since):
        _give_up(rooms, request, "refused" if refused else "unreachable")
        return
    again_in = pause(rooms, request.attempt)
    kept(rooms.ledger.commitment_requests.put_off, request, again_in=again_in, refused=refused)


def _give_up(rooms: Rooms, request: OpenRequest, why: str) -> None:
    if kept(rooms.ledger.commitment_requests.give_up, request):
        COMMITMENT_RESULTS.labels(outcome="given-up").inc()
        log.error("commitment_result_given_up", reason=why, instances=len(request.instances))
