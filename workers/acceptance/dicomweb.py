"""The steps of an acceptance run with a PACS over DICOMweb."""

import json
from collections import Counter
from collections.abc import Iterator

import httpx

from service.domain.routing import OutputKind
from service.settings import WebDestination
from workers.acceptance.dimse import sent_report
from workers.acceptance.kept import changed_attributes, in_words, read_part10
from workers.acceptance.observation import Observation, Result
from workers.acceptance.steps import Stored, count_once, store_again, store_each
from workers.acceptance.study import SyntheticStudy
from workers.delivery import stow_rs
from workers.delivery.stored_output import NoResponseError


def observe(
    destination: WebDestination, study: SyntheticStudy, *, repeats: int
) -> Iterator[Observation]:
    """Try a DICOMweb service: query, store, store again, find and retrieve."""
    stored = Stored()
    try:
        with stow_rs.open_service(destination) as service:
            yield _answers(service)
            yield from store_each(service, study, stored)
            yield store_again(service, study, stored, repeats)
            yield _search(service, study, stored)
            yield _retrieve(service, study, stored)
    except NoResponseError as error:
        yield Observation(step="Answers", result=Result.FAILED, detail=str(error))


def remove_study(destination: WebDestination, study: SyntheticStudy) -> Observation:
    """Ask a service to delete the study, which some offer beside the standard."""
    step = "Deletes the study when asked"
    try:
        with stow_rs.open_service(destination) as service:
            status, _ = service.request("DELETE", f"/studies/{study.study_instance_uid}")
            left, _ = service.request("GET", *_instances(study))
    except NoResponseError as error:
        return Observation(step=step, result=Result.NOT_OFFERED, detail=str(error))
    gone = httpx.codes.is_success(status) and left in {
        httpx.codes.NO_CONTENT,
        httpx.codes.NOT_FOUND,
    }
    return Observation(
        step=step,
        result=Result.PASSED if gone else Result.NOT_OFFERED,
        detail=f"HTTP {status}",
    )


def _answers(service: stow_rs.WebSender) -> Observation:
    status = service.query()
    is_refused = status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
    return Observation(
        step="Answers",
        result=Result.FAILED if is_refused else Result.PASSED,
        detail=f"a query for a study (QIDO-RS) with HTTP {status}",
    )


def _search(service: stow_rs.WebSender, study: SyntheticStudy, stored: Stored) -> Observation:
    step = "Holds each object once"
    if not stored.taken:
        return Observation(step=step, result=Result.NOT_TRIED, detail="nothing was taken")
    status, body = service.request("GET", *_instances(study))
    if status != httpx.codes.OK or body is None:
        return Observation(step=step, result=Result.NOT_OFFERED, detail=f"HTTP {status}")
    try:
        found = [each["00080018"]["Value"][0] for each in json.loads(body)]
    except (ValueError, LookupError, TypeError):
        return Observation(step=step, result=Result.FAILED, detail="the answer cannot be read")
    return count_once(Counter(map(str, found)), stored)


def _retrieve(service: stow_rs.WebSender, study: SyntheticStudy, stored: Stored) -> Observation:
    """Retrieve the report (WADO-RS, PS3.18 10.4), and compare it with what was sent."""
    step = "Keeps the report as it was sent"
    reference = stored.taken.get(OutputKind.SR)
    if reference is None:
        return Observation(step=step, result=Result.NOT_TRIED, detail="no report was taken")
    sent = sent_report(study, reference)
    path = (
        f"/studies/{study.study_instance_uid}/series/{sent.SeriesInstanceUID}"
        f"/instances/{reference.sop_instance_uid}"
    )
    accept = 'multipart/related; type="application/dicom"'
    status, body = service.request("GET", path, accept=accept)
    if status != httpx.codes.OK or body is None:
        return Observation(step=step, result=Result.NOT_OFFERED, detail=f"HTTP {status}")
    try:
        changed = changed_attributes(sent, read_part10(first_part(body)))
    except Exception:  # noqa: BLE001 -- whatever a service sends, pydicom raises many kinds
        return Observation(step=step, result=Result.FAILED, detail="the answer cannot be read")
    result = Result.FAILED if "ContentSequence" in changed else Result.PASSED
    return Observation(step=step, result=result, detail=in_words(changed))


def first_part(body: bytes) -> bytes:
    """Return the content of the first part of a multipart body (RFC 2046 5.1).

    Raises:
        ValueError: it is no multipart body.
    """
    boundary, _, rest = body.lstrip(b"\r\n").partition(b"\r\n")
    _headers, separator, content = rest.partition(b"\r\n\r\n")
    end = content.find(b"\r\n" + boundary)
    if not boundary.startswith(b"--") or not separator or end < 0:
        raise ValueError("no multipart body")
    return content[:end]


def _instances(study: SyntheticStudy) -> tuple[str]:
    return (f"/studies/{study.study_instance_uid}/instances",)
