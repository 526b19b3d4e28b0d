"""The steps that are the same over DIMSE and DICOMweb: store each object, and store it again."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from service.domain.delivery import Reference
from workers.acceptance.observation import Observation, Result
from workers.acceptance.study import IMAGE, SyntheticStudy
from workers.delivery.stored_output import NoResponseError, StoreResponse
from workers.delivery.transport import Transport


class Stored:
    """What the PACS took: the references of the objects as they were sent."""

    def __init__(self) -> None:
        self.taken: dict[str, Reference] = {}  # by kind; a Comprehensive SR has UIDs of its own

    @property
    def sop_instance_uids(self) -> set[str]:
        """The SOP Instance UIDs of all that was taken."""
        return {each.sop_instance_uid for each in self.taken.values()}


def store_each(
    transport: Transport, study: SyntheticStudy, stored: Stored
) -> Iterator[Observation]:
    """Store each object once."""
    for each in study.objects:
        step = f"Takes the {each.kind}"
        try:
            response, milliseconds = _store(transport, each.path)
        except NoResponseError as error:
            yield Observation(step=step, result=Result.FAILED, detail=f"no answer: {error}")
            continue
        if response.taken:
            stored.taken[each.kind] = response.sent
        # an image is sent for the viewer only: a PACS for results alone need not take one
        refused = Result.NOT_OFFERED if each.kind == IMAGE else Result.FAILED
        yield Observation(
            step=step,
            result=Result.PASSED if response.taken else refused,
            detail=_answer(response, each.reference),
            milliseconds=(milliseconds,),
        )


def store_again(
    transport: Transport, study: SyntheticStudy, stored: Stored, repeats: int
) -> Observation:
    """Store one object again and again: it must be taken each time, and be there once."""
    step = "Takes the same object again"
    again = next((each for each in study.objects if each.kind in stored.taken), None)
    if again is None:
        return Observation(step=step, result=Result.NOT_TRIED, detail="nothing was taken")
    took: list[float] = []
    statuses: set[str] = set()
    refused = 0
    for _ in range(repeats):
        try:
            response, milliseconds = _store(transport, again.path)
        except NoResponseError as error:
            return Observation(step=step, result=Result.FAILED, detail=f"no answer: {error}")
        took.append(milliseconds)
        statuses.add(f"0x{response.status:04X}")
        refused += not response.taken
    return Observation(
        step=step,
        result=Result.FAILED if refused else Result.PASSED,
        detail=f"the {again.kind}, {repeats} times: {', '.join(sorted(statuses))}",
        milliseconds=tuple(took),
    )


def count_once(counts: Mapping[str, int], stored: Stored) -> Observation:
    """Compare what the PACS finds of the study with what it took."""
    step = "Holds each object once"
    missing = sum(uid not in counts for uid in stored.sop_instance_uids)
    doubled = sum(counts.get(uid, 0) > 1 for uid in stored.sop_instance_uids)
    if missing or doubled:
        detail = f"{missing} of {len(stored.taken)} not found, {doubled} found more than once"
        return Observation(step=step, result=Result.FAILED, detail=detail)
    return Observation(step=step, result=Result.PASSED, detail=f"{len(stored.taken)} found")


def _store(transport: Transport, path: Path) -> tuple[StoreResponse, float]:
    began = time.monotonic()
    response = transport.send(path)
    return response, 1000 * (time.monotonic() - began)


def _answer(response: StoreResponse, reference: Reference) -> str:
    said = "Success" if response.status == 0 else "a warning" if response.warned else "a failure"
    other = "" if response.sent == reference else ", as a Comprehensive SR, which it takes instead"
    return f"0x{response.status:04X}, {said}{other}"
