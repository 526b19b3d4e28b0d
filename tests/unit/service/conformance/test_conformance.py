"""The conformance statement agrees with what is negotiated, for any configuration."""

import re
from typing import Any

import pytest
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.presentation import PresentationContext
from support.inference_worker import PACS

from service.conformance import WorkerFacts, statement
from service.dicom.sop_classes import RESULT_SOP_CLASSES
from service.dicom.storage_commitment import STORAGE_COMMITMENT
from service.domain.reasons import EXPLANATIONS, NOT_ANALYSED
from service.receiving.listener.application_entity import application_entity
from service.settings import DimseDestination, Settings
from workers.conformance import worker_facts
from workers.delivery.dimse import _propose, entity_for

pytestmark = pytest.mark.slow


def page(**settings: Any) -> str:  # noqa: ANN401 -- any of the tree
    chosen = Settings(**settings)
    return statement(chosen, worker_facts(chosen))


@pytest.fixture(scope="module")
def facts() -> WorkerFacts:
    """What the workers do as configured by default; the listener's settings do not change it."""
    return worker_facts(Settings())


@pytest.fixture(scope="module")
def usual(facts: WorkerFacts) -> str:
    return statement(Settings(), facts)


def section(text: str, heading: str) -> str:
    begin = text.index(f"# {heading}")
    end = text.find("\n#", begin)
    return text[begin : end if end > 0 else None]


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def negotiated(contexts: list[PresentationContext]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in contexts:
        found.setdefault(str(each.abstract_syntax), set()).update(map(str, each.transfer_syntax))
    return found


def listener_contexts(entity: AE) -> dict[str, set[str]]:
    return negotiated(entity.supported_contexts)


@pytest.mark.parametrize(
    "dicom", [{}, {"sop_classes": ["CTImageStorage", "ComprehensiveSRStorage"]}]
)
def test_the_accepted_contexts_are_those_that_the_listener_accepts(
    dicom: dict[str, object], facts: WorkerFacts
) -> None:
    settings = Settings(dicom={"allow_any_calling_ae_title": True, **dicom})
    text = section(statement(settings, facts), "4.2.1.3 Accepted")
    lists = {
        letter: set(re.findall(r"`([\d.]+)`", syntaxes))
        for letter, syntaxes in (row for row in rows(text) if len(row) == 2)
    }
    stated = {
        row[1].strip("`"): lists.get(row[2].removeprefix("list "), row[2])
        for row in rows(text)
        if row[1].startswith("`")
    }
    real = listener_contexts(application_entity(settings.dicom))
    assert stated.keys() == real.keys()
    for uid, syntaxes in stated.items():
        names = {UID(each).name for each in real[uid]}
        assert syntaxes in (real[uid], None) or set(str(syntaxes).split(", ")) == names


def test_the_proposed_contexts_are_those_that_are_proposed(usual: str) -> None:
    entity = entity_for(DimseDestination(**PACS), "LOBAR")
    _propose(entity, list(RESULT_SOP_CLASSES))
    real = negotiated(entity.requested_contexts)
    text = section(usual, "4.2.2.2 Proposed")
    proposed = [row for row in rows(text) if row[1].startswith("`")]
    assert len(proposed) == len(real) + 1, "and storage commitment, where it is asked for"
    for row in proposed:
        uid = row[1].strip("`")
        if uid == STORAGE_COMMITMENT:
            continue
        stated = set(row[2].removesuffix(", one context each").split(", "))
        assert stated == {UID(each).name for each in real[uid]}, row[0]


def test_every_reason_for_not_analysing_is_explained(usual: str) -> None:
    text = section(usual, "4.2.1.4 SOP specific conformance: Storage")
    stated = {row[0]: row[1] for row in rows(text) if len(row) == 2}
    assert {reason: EXPLANATIONS[reason] for reason in NOT_ANALYSED}.items() <= stated.items()


def test_what_is_configured_is_what_is_said() -> None:
    text = page(
        dicom={
            "ae_title": "THORAX",
            "port": 4242,
            "allowed_calling_ae_titles": ["CR1", "CR2"],
            "maximum_associations": 7,
        },
        deliver={"give_up_days": 3},
        spool={"keep_days": 2},
    )
    assert "| AE title | THORAX |" in text
    assert "port 4242" in text
    assert "| Calling AE titles accepted | CR1, CR2 |" in text
    assert "| Associations at once | 7 |" in text
    assert "for up to 3 days" in text
    assert "up to 2 days after its end" in text


def test_the_sections_are_those_of_the_standard(usual: str) -> None:
    """PS3.2 annex A."""
    found = re.findall(r"^#+ (\d[\d.]*) ", usual, re.MULTILINE)
    assert found == sorted(found, key=lambda number: [int(each) for each in number.split(".")])
    assert {"1", "2", "3", "4", "4.1", "4.2", "4.3", "4.4", "5", "6", "7", "8"} <= set(found)


def test_codes_templates_and_attributes_are_those_of_real_objects(usual: str) -> None:
    codes = section(usual, "8.3 Coded terminology")
    for code in (
        "(233604007, SCT, Pneumonia)",
        "(373068000, SCT, Undetermined)",
        "(130402, DCM, Class activation)",
        "(lateral-view, 99LOBAR, Lateral view)",
    ):
        assert code in codes
    for template in ("1410", "1500", "1501", "2000"):
        assert f"| DCMR {template} |" in codes
    report = section(usual, "Report: ")
    assert "| Predecessor Documents Sequence | (0040,A360) | SQ | 1 item (where it applies) |" in (
        report
    )
    assert "| Completion Flag | (0040,A491) | CS | COMPLETE |" in report
