"""QIDO-RS: search for studies, series and instances (PS3.18 10.6)."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from service.domain.audit import Action
from service.domain.user import Permission
from service.storage.ledger import Ledger, StudyFilter
from service.web.access import require
from service.web.dicomweb.holdings import MOST_RECEIVED, Contents, Item, StudyItems, address
from service.web.dicomweb.json_model import Value
from service.web.dicomweb.matching import (
    INCLUDED_KEYS,
    INSTANCE_KEYS,
    SERIES_KEYS,
    STUDY_KEYS,
    Search,
    search_of,
    tag_of,
)
from service.web.dicomweb.media_types import DICOM_JSON, require_json
from service.web.dicomweb.threads import FewThreads
from service.web.trail import Trail

_PATIENT_ID: Final = "00100020"
_ACCESSION: Final = "00080050"
_STUDY_UID: Final = "0020000D"
_SERIES_UID: Final = "0020000E"
_MODALITY: Final = "00080060"
_MODALITIES: Final = "00080061"
_RETRIEVE_URL: Final = "00081190"
_WILD: Final = frozenset("*?\\,")
_MOST_STUDIES: Final = 1000  # that one search reads
_AT_ONCE: Final = 100

# PS3.18 tables 10.6.3-3 to 10.6.3-5; each result has those of its level and above
_OF_STUDY: Final = (
    *("00080005", "00080020", "00080030", _ACCESSION, "00080056", _MODALITIES, "00080090"),
    *("00081030", _RETRIEVE_URL, "00100010", _PATIENT_ID, "00100030", "00100040", _STUDY_UID),
    *("00200010", "00201206", "00201208"),
)
_OF_SERIES: Final = (
    *("00080005", _MODALITY, "00080021", "00080031", "0008103E", _RETRIEVE_URL, _STUDY_UID),
    *(_SERIES_UID, "00200011", "00201209"),
)
_OF_INSTANCE: Final = (
    *("00080005", "00080016", "00080018", "00080056", _RETRIEVE_URL, _STUDY_UID, _SERIES_UID),
    *("00200013", "00280008", "00280010", "00280011", "00280100"),
)
_FUZZY: Final = (
    '299 lobar "The fuzzymatching parameter is not supported. Only literal matching has been '
    'performed."'  # PS3.18 8.3.4.2
)
_MORE: Final = (
    '299 lobar "The number of results exceeded the maximum supported by the server. Additional '
    'results can be requested."'  # PS3.18 8.3.4.4
)

_TOO_MANY: Final = (
    f'299 lobar "A study has more than {MOST_RECEIVED} received instances; only the latest '
    'are searched and counted."'
)

Attributes = dict[str, Value]
_Describe = Callable[[Request, list[Item]], Iterator[Attributes]]

SUMMARY_TAGS: Final = (  # the UIDs first: without the others a result is short, without them wrong
    *("00080016", "00080018", _STUDY_UID, _SERIES_UID, _MODALITY, "00080005"),
    *(_OF_STUDY + _OF_SERIES + _OF_INSTANCE),
    *map(tag_of, STUDY_KEYS + SERIES_KEYS + INSTANCE_KEYS + INCLUDED_KEYS),
)


class _Searches:
    """Answers searches from what Lobar holds."""

    def __init__(self, ledger: Ledger, items: StudyItems, trail: Trail) -> None:
        self._ledger = ledger
        self._items = items
        self._trail = trail

    def answer(
        self,
        request: Request,
        search: Search,
        contents: Iterable[Contents],
        describe: _Describe,
        usual: Iterable[str],
    ) -> Response:
        """Answer with what matches in some studies, and record the search."""
        warnings = [_FUZZY] if search.fuzzy else []
        found = _described(request, contents, describe, warnings)
        matching = (each for each in found if search.matches(each))
        results = list(islice(matching, search.offset, search.offset + search.limit + 1))
        if len(results) > search.limit:
            warnings.append(_MORE)
        shown = [_shown(each, search, frozenset(usual)) for each in results[: search.limit]]
        self._trail.record(request, Action.SEARCH, what="dicom-web", results=len(shown))
        headers = {"Warning": ", ".join(warnings)} if warnings else {}
        return Response(json.dumps(shown), media_type=DICOM_JSON, headers=headers)

    def contents(
        self, search: Search, study: str | None = None, series: str | None = None
    ) -> Iterable[Contents]:
        """Return what is in the study of the address, or in those that may match.

        Raises:
            Problem: the study or series of the address is not known.
        """
        if study is None:
            return map(self._items.of_study, self._studies(search))
        if series is not None:
            self._items.known(study, series)
        return [self._items.known(study)]

    def _studies(self, search: Search) -> Iterator[str]:
        """Yield the studies that may match, the latest first, within the limit of one search."""
        uids = search.keys.get(_STUDY_UID, "")
        wanted = StudyFilter(
            study_instance_uids=tuple(uids.replace("\\", ",").split(",")[:_AT_ONCE])
            if uids
            else (),
            patient_id=_exact(search, _PATIENT_ID),
            accession_number=_exact(search, _ACCESSION),
        )
        for offset in range(0, _MOST_STUDIES, _AT_ONCE):
            page = self._ledger.holdings.studies(wanted, _AT_ONCE, offset)
            yield from page
            if len(page) < _AT_ONCE:
                return


def router(ledger: Ledger, items: StudyItems, trail: Trail, threads: FewThreads) -> APIRouter:
    """Build the routes of searches."""
    routes = APIRouter(dependencies=[require(Permission.PATIENT)])
    searches = _Searches(ledger, items, trail)

    @routes.get("/studies")
    @threads.route
    def _studies(request: Request) -> Response:
        require_json(request)
        search = search_of(request.query_params, STUDY_KEYS)
        return searches.answer(request, search, searches.contents(search), _study_of, _OF_STUDY)

    @routes.get("/series")
    @routes.get("/studies/{study}/series")
    @threads.route
    def _series(request: Request, study: str | None = None) -> Response:
        require_json(request)
        search = search_of(request.query_params, (*STUDY_KEYS, *SERIES_KEYS))
        usual = (*_OF_STUDY, *_OF_SERIES) if study is None else _OF_SERIES
        found = searches.contents(search, study)
        return searches.answer(request, search, found, _series_of, usual)

    @routes.get("/instances")
    @routes.get("/studies/{study}/instances")
    @routes.get("/studies/{study}/series/{series}/instances")
    @threads.route
    def _instances(
        request: Request, study: str | None = None, series: str | None = None
    ) -> Response:
        require_json(request)
        search = search_of(request.query_params, (*STUDY_KEYS, *SERIES_KEYS, *INSTANCE_KEYS))
        usual = _OF_INSTANCE if study else (*_OF_STUDY, *_OF_SERIES, *_OF_INSTANCE)
        describe = partial(_instances_of, series=series)
        found = searches.contents(search, study, series)
        return searches.answer(request, search, found, describe, usual)

    return routes


def _described(
    request: Request, contents: Iterable[Contents], describe: _Describe, warnings: list[str]
) -> Iterator[Attributes]:
    for each in contents:
        if not each.is_complete and _TOO_MANY not in warnings:
            warnings.append(_TOO_MANY)
        if each.items:
            yield from describe(request, each.items)


def _exact(search: Search, tag: str) -> str | None:
    wanted = search.keys.get(tag)
    return None if wanted is None or not _WILD.isdisjoint(wanted) else wanted


def _shown(found: Attributes, search: Search, usual: frozenset[str]) -> Attributes:
    wanted = usual | search.include | search.keys.keys()
    return {
        tag: value for tag, value in sorted(found.items()) if search.include_all or tag in wanted
    }


def _study(request: Request, held: list[Item]) -> Attributes:
    """Return the attributes of a study: those of a received instance, and those counted."""
    received = next((each for each in held if each.is_received), held[0])
    modalities = sorted({_modality(each) for each in held} - {""})
    series = {each.series_instance_uid for each in held}
    uid = received.job.study_instance_uid
    return {
        **received.attributes,
        "00080056": _value("CS", "ONLINE"),
        _MODALITIES: {"vr": "CS", "Value": modalities},
        _RETRIEVE_URL: _value("UR", f"{request.base_url}dicom-web/studies/{uid}"),
        "00201206": _value("IS", len(series)),
        "00201208": _value("IS", len(held)),
    }


def _study_of(request: Request, held: list[Item]) -> Iterator[Attributes]:
    yield _study(request, held)


def _series_of(request: Request, held: list[Item]) -> Iterator[Attributes]:
    of_study = _study(request, held)
    members: dict[str, list[Item]] = {}
    for each in held:
        members.setdefault(each.series_instance_uid, []).append(each)
    for uid, of_series in members.items():
        yield {
            **of_study,
            **of_series[0].attributes,
            _MODALITIES: of_study[_MODALITIES],
            _RETRIEVE_URL: _value("UR", f"{of_study[_RETRIEVE_URL]['Value'][0]}/series/{uid}"),
            "00201209": _value("IS", len(of_series)),
        }


def _instances_of(
    request: Request, held: list[Item], series: str | None = None
) -> Iterator[Attributes]:
    of_study = _study(request, held)
    for each in held:
        if series in {None, each.series_instance_uid}:
            yield {
                **of_study,
                **each.attributes,
                "00080056": _value("CS", "ONLINE"),
                _RETRIEVE_URL: _value("UR", address(request, each)),
            }


def _modality(item: Item) -> str:
    values: Mapping[str, Any] = item.attributes.get(_MODALITY, {})
    (first, *_) = values.get("Value") or [""]
    return first or ""


def _value(vr: str, value: str | int) -> Value:
    return {"vr": vr, "Value": [value]}
