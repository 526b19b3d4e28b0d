"""The parameters of a search for DiagnosticReports (FHIR R4 3.1.1)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Final

from service.dicom.uids import is_uid
from service.messages.fhir.terms import DICOM_UID
from service.storage.ledger import ReportFilter
from service.web.problem import Problem

MOST: Final = 100  # reports of a page
USUAL: Final = 20
INCLUDE_RESULTS: Final = "DiagnosticReport:result"
COUNT, OFFSET, INCLUDE = "_count", "_offset", "_include"
_ID: Final = "_id"
_IDENTIFIER: Final = "identifier"
_PATIENT: Final = frozenset({"patient:identifier", "subject:identifier"})
_ORDER: Final = "based-on:identifier"
_STUDY: Final = "study"  # of Lobar's own: R4 has no parameter for imagingStudy
_FORMAT: Final = "_format"
PARAMETERS: Final = (_ID, _IDENTIFIER, *sorted(_PATIENT), _ORDER, _STUDY)
"""What can be searched by."""

_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")
_LARGEST: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportQuery:
    """A search: what is wanted, and which part of it."""

    wanted: ReportFilter = field(default_factory=ReportFilter)
    count: int = USUAL
    offset: int = 0
    with_results: bool = False
    is_empty: bool = False  # a value that nothing can have


def report_query(parameters: Mapping[str, str]) -> ReportQuery:
    """Read the parameters of a search.

    Raises:
        Problem: one is not known, or has a value that it cannot have.
    """
    query = ReportQuery()
    for name, value in parameters.items():
        query = _with(query, name, value)
    return query


def _with(query: ReportQuery, name: str, value: str) -> ReportQuery:
    if name == _FORMAT:
        return query
    if name == COUNT:
        return replace(query, count=min(_number(name, value), MOST))
    if name == OFFSET:
        return replace(query, offset=_number(name, value))
    if name == INCLUDE:
        if value != INCLUDE_RESULTS:
            raise _invalid(f"{INCLUDE} may be {INCLUDE_RESULTS} only.")
        return replace(query, with_results=True)
    return _filtered(query, name, value)


def _filtered(query: ReportQuery, name: str, value: str) -> ReportQuery:
    wanted = query.wanted
    if name == _ID:
        is_known = _JOB_ID.fullmatch(value) is not None
        return replace(query, wanted=replace(wanted, job_id=value), is_empty=not is_known)
    if name in {_IDENTIFIER, _STUDY}:
        uid = _uid(value)
        found = (
            replace(wanted, report_uid=uid)
            if name == _IDENTIFIER
            else replace(wanted, study_instance_uid=uid)
        )
        return replace(query, wanted=found, is_empty=query.is_empty or uid is None)
    if name in _PATIENT:
        return replace(query, wanted=replace(wanted, patient_id=_token(value)))
    if name == _ORDER:
        return replace(query, wanted=replace(wanted, accession_number=_token(value)))
    known = ", ".join((*PARAMETERS, COUNT, OFFSET, INCLUDE))
    raise _invalid(f"There is no such search parameter: this server has {known}.")


def _uid(value: str) -> str | None:
    """Read a UID: `1.2.3`, `urn:oid:1.2.3` or `urn:dicom:uid|urn:oid:1.2.3`."""
    system, delimiter, code = value.rpartition("|")
    uid = code.removeprefix("urn:oid:")
    if delimiter and system != DICOM_UID:
        return None
    return uid if is_uid(uid) else None


def _token(value: str) -> str:
    """Return the value of a token; its system is not looked at, because headers name none."""
    return value.rpartition("|")[2]


def _number(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) > _LARGEST:
        raise _invalid(f"{name} is a number from 0 to {_LARGEST:,}.")
    return int(value)


def _invalid(sentence: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, sentence)
