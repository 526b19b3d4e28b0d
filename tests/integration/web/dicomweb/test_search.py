from pathlib import Path
from typing import Any

import httpx
import pytest
from support.study import KeptStudy, keep_study, receive
from support.web_server import Web
from synthetic.objects import make_cr
from synthetic.part10 import part10

from service.domain.audit import Action
from service.domain.user import Role

STUDIES = "/dicom-web/studies"


@pytest.fixture(scope="module")
def reader(quiet_web: Web) -> httpx.Client:
    return quiet_web.sign_in(Role.VIEWER)


def first(attributes: dict[str, Any], tag: str) -> Any:  # noqa: ANN401 -- any JSON value
    return attributes[tag]["Value"][0]


def test_a_study_is_found_with_its_patient_and_what_is_in_it(
    reader: httpx.Client, study: KeptStudy
) -> None:
    answer = reader.get(STUDIES)
    assert answer.headers["content-type"] == "application/dicom+json"
    (found,) = answer.json()
    assert first(found, "0020000D") == study.source.StudyInstanceUID
    assert first(found, "00100010") == {"Alphabetic": "Müller^Jörg"}
    assert first(found, "00080005") == "ISO_IR 192"
    assert (first(found, "00080050"), first(found, "00080020")) == ("A-1", "20260503")
    assert found["00080061"]["Value"] == ["CR", "DOC", "OT", "PR", "SR"]
    assert (first(found, "00201206"), first(found, "00201208")) == (5, 5)
    assert first(found, "00081190") == f"{reader.base_url}{study.path}".replace("//dicom", "/dicom")
    assert "00280010" not in found


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("PatientName=müll*", 1),
        ("PatientName=M?ller^J*g", 1),
        ("00100010=Miller*", 0),
        ("AccessionNumber=A-1", 1),
        ("AccessionNumber=A-2", 0),
        ("StudyDate=20260503", 1),
        ("StudyDate=20260501-20260531", 1),
        ("StudyDate=-20260502", 0),
        ("StudyDate=20260504-", 0),
        ("ModalitiesInStudy=SR", 1),
        ("ModalitiesInStudy=CT", 0),
        ("StudyInstanceUID=1.2.3", 0),
        ("PatientID=", 1),
        ("PatientID=*", 1),
        ("limit=0", 0),
        ("offset=1", 0),
        ("offset=999999999", 0),
        ("PatientName=" + "*a" * 400, 0),
        ("StudyDate=%FF-", 0),
    ],
)
def test_keys_match_as_the_standard_says(
    reader: httpx.Client, study: KeptStudy, query: str, count: int
) -> None:
    """PS3.4 C.2.2.2: single values, UIDs, wildcards, ranges, universal."""
    assert len(reader.get(f"{STUDIES}?{query}").json()) == count
    assert study.job_id


def test_a_list_of_uids_finds_any_of_them(reader: httpx.Client, study: KeptStudy) -> None:
    for separator in (",", "\\"):
        uids = f"1.2.3{separator}{study.source.StudyInstanceUID}"
        assert len(reader.get(STUDIES, params={"StudyInstanceUID": uids}).json()) == 1


def test_series_and_instances_are_found_below_their_study(
    reader: httpx.Client, study: KeptStudy
) -> None:
    series = reader.get(f"{study.path}/series").json()
    assert {first(each, "00080060") for each in series} == {"CR", "SR", "OT", "PR", "DOC"}
    (image,) = reader.get(f"{study.path}/series", params={"Modality": "CR"}).json()
    assert first(image, "0020000E") == study.source.SeriesInstanceUID
    assert first(image, "00201209") == 1
    (instance,) = reader.get(
        f"{study.path}/series/{study.source.SeriesInstanceUID}/instances"
    ).json()
    assert first(instance, "00080018") == study.source.SOPInstanceUID
    assert (first(instance, "00280010"), first(instance, "00280011")) == (64, 48)
    assert first(instance, "00081190").endswith(study.path_of(study.source))


def test_series_and_instances_are_found_without_a_study(
    reader: httpx.Client, study: KeptStudy
) -> None:
    series = reader.get("/dicom-web/series", params={"Modality": "SR"}).json()
    assert [first(each, "0020000D") for each in series] == [study.source.StudyInstanceUID]
    uid = study.source.SOPInstanceUID
    (found,) = reader.get("/dicom-web/instances", params={"SOPInstanceUID": uid}).json()
    assert first(found, "00100010") == {"Alphabetic": "Müller^Jörg"}
    assert len(reader.get(f"{study.path}/instances").json()) == 5


def test_more_attributes_come_when_they_are_asked_for(
    reader: httpx.Client, study: KeptStudy
) -> None:
    path = f"{study.path}/instances"
    query = {"SOPInstanceUID": study.source.SOPInstanceUID}
    (plain,) = reader.get(path, params=query).json()
    (more,) = reader.get(path, params={**query, "includefield": "BodyPartExamined"}).json()
    (all_,) = reader.get(path, params={**query, "includefield": "all"}).json()
    assert "00180015" not in plain
    assert first(more, "00180015") == first(all_, "00180015") == "CHEST"


def test_what_is_left_out_is_said(reader: httpx.Client, web: Web) -> None:
    for _ in range(3):
        receive(web, part10(make_cr(rows=8, columns=8)))
    client = web.sign_in(Role.VIEWER)
    answer = client.get(STUDIES, params={"limit": 2, "fuzzymatching": "true"})
    assert len(answer.json()) == 2
    assert "fuzzymatching parameter is not supported" in answer.headers["warning"]
    assert "exceeded the maximum" in answer.headers["warning"]
    rest = client.get(STUDIES, params={"limit": 2, "offset": 2})
    assert len(rest.json()) == 1
    assert "warning" not in rest.headers
    assert reader.get(STUDIES).status_code == 200


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("PatientNamme=x", 400),
        ("Rows=64", 400),
        ("99999999=1", 400),
        ("limit=-1", 400),
        ("limit=x", 400),
        ("offset=1e9", 400),
        ("fuzzymatching=maybe", 400),
        ("PatientName=" + "x" * 2000, 400),
        ("PatientName=%00", 400),
    ],
)
def test_a_query_that_is_not_known_is_a_problem(
    reader: httpx.Client, query: str, status: int
) -> None:
    answer = reader.get(f"{STUDIES}?{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.text) < 2000


@pytest.mark.parametrize("accept", [";", "?accept=;"])
def test_an_accept_without_a_type_takes_nothing(reader: httpx.Client, accept: str) -> None:
    in_query = accept.startswith("?")
    headers = {"accept": "*/*" if in_query else accept}
    answer = reader.get(STUDIES + (accept if in_query else ""), headers=headers)
    assert answer.status_code == 406


def test_a_pattern_that_would_take_a_regular_expression_forever_is_answered(
    reader: httpx.Client, study: KeptStudy
) -> None:
    answer = reader.get(STUDIES, params={"PatientName": "*?" * 500 + "x"})
    assert (answer.status_code, answer.json()) == (200, [])
    assert study.job_id


def test_only_json_is_sent(reader: httpx.Client) -> None:
    xml = {"accept": 'multipart/related; type="application/dicom+xml"'}
    assert reader.get(STUDIES, headers=xml).status_code == 406
    for accept in ("application/dicom+json", "application/json", "*/*", ""):
        assert reader.get(STUDIES, headers={"accept": accept}).status_code == 200


def test_only_who_may_see_patients_searches(web: Web) -> None:
    keep_study(web, make_cr(rows=64, columns=48))
    assert web.client.get(STUDIES).status_code == 403
    assert web.sign_in(Role.OPERATOR).get(STUDIES).status_code == 403
    assert web.sign_in(Role.VIEWER).get(STUDIES).status_code == 200
    record, *_ = web.ledger.audit.recent()
    assert (record.action, record.user) == (Action.SEARCH, "viewer")
    assert record.detail == {"what": "dicom-web", "results": 1}


def test_of_corrections_the_one_received_last_counts(web: Web) -> None:
    source = make_cr(rows=64, columns=48)
    receive(web, part10(source))
    source.PatientID = "CORRECTED"
    receive(web, part10(source))
    (found,) = web.sign_in(Role.VIEWER).get(STUDIES).json()
    assert first(found, "00100020") == "CORRECTED"
    assert first(found, "00201208") == 1


@pytest.mark.parametrize("what", ["header", "file"])
def test_a_broken_instance_is_found_by_what_the_ledger_knows(web: Web, what: str) -> None:
    source = make_cr(rows=8, columns=8)
    job_id = receive(web, part10(source))
    receive(web, part10(make_cr(rows=8, columns=8)))
    path: Path = web.spool.inbox(job_id)
    path.unlink() if what == "file" else path.write_bytes(b"\0" * 500)
    viewer = web.sign_in(Role.VIEWER)
    found = viewer.get(STUDIES).json()
    assert len(found) == (1 if what == "file" else 2)
    uids = {first(each, "0020000D") for each in found}
    assert (source.StudyInstanceUID in uids) is (what == "header")
    if what == "header":
        (instance,) = viewer.get(f"{STUDIES}/{source.StudyInstanceUID}/metadata").json()
        assert set(instance) == {"00080016", "00080018", "0020000D", "0020000E"}
