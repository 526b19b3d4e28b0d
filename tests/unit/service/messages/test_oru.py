"""HL7 messages by templates, and what is wrong with a template that makes none."""

from pathlib import Path

import pytest
from hl7apy.parser import parse_message
from hypothesis import given
from hypothesis import strategies as st

from service.messages.example import EXAMPLES
from service.messages.hl7.acknowledgement import (
    UnreadableAcknowledgementError,
    read_acknowledgement,
)
from service.messages.hl7.oru import Names, OruTemplate, control_id_of, escape
from service.messages.templating import MessageTemplateError

NAMES = Names(
    sending_application="LOBAR",
    sending_facility="HOSPITAL & SONS",
    receiving_application="RIS",
    receiving_facility="",
    processing_id="T",
)
MSH = r"MSH|^~\&|L|||||||{{ control_id }}|P|2.5.1"


@pytest.mark.parametrize("report", EXAMPLES, ids=lambda report: str(report.outcome))
def test_the_shipped_template_makes_valid_messages(report: object) -> None:
    message = OruTemplate(None, NAMES, "ris").of(report)  # type: ignore[arg-type]
    parsed = parse_message(message.text, find_groups=True, validation_level=1)
    assert parsed.validate()
    assert parsed.msh.msh_10.value == message.control_id
    assert len(message.control_id) == 20
    assert "HOSPITAL \\T\\ SONS" in message.text
    assert "research use only" in message.text


def test_a_report_that_replaces_another_says_so() -> None:
    first, second = (OruTemplate(None, NAMES, "ris").of(each) for each in EXAMPLES)
    assert "Replaces the report" not in first.text
    assert f"Replaces the report {EXAMPLES[0].sop_instance_uid}" in second.text


def test_control_ids_tell_reports_and_destinations_apart() -> None:
    known = {control_id_of(uid, name) for uid in ("1.2", "1.3") for name in ("ris", "his")}
    assert len(known) == 4


@given(st.text())
def test_no_value_adds_a_delimiter_or_a_line(value: str) -> None:
    written = escape(value)
    plain = written
    for sequence in ("\\E\\", "\\F\\", "\\S\\", "\\T\\", "\\R\\"):
        plain = plain.replace(sequence, "")
    assert set(plain).isdisjoint("|^&~\r\n\x0b\x1c")
    assert len(written.splitlines()) <= 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not begin with MSH"),
        ("PID|1", "does not begin with MSH"),
        (r"MSH|^~\&|L|||||||MINE|P|2.5.1", "MSH-10 is not the control_id"),
        (f"{MSH}\nno segment", "line 2"),
        (f"{MSH}\nPID|{{{{ patient.nothing }}}}", "has no attribute"),
        (f"{MSH}\nPID|{{{{ 1 / 0 }}}}", "cannot be rendered"),
        (f"{MSH}\nPID|{{{{ patient.__class__.__mro__ }}}}", "unsafe"),
        (f"{MSH}\n{{% if %}}", "is no template: line 2"),
    ],
)
def test_a_template_that_makes_no_message_is_explained(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "own.hl7"
    file.write_text(text)
    with pytest.raises(MessageTemplateError, match=why):
        OruTemplate(file, NAMES, "ris").of(EXAMPLES[0])


def test_a_template_that_is_not_there_or_no_text_is_explained(tmp_path: Path) -> None:
    with pytest.raises(MessageTemplateError, match="cannot be read"):
        OruTemplate(tmp_path / "none", NAMES, "ris")
    file = tmp_path / "binary"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MessageTemplateError, match="UTF-8"):
        OruTemplate(file, NAMES, "ris")


@given(st.binary(max_size=300))
def test_whatever_comes_back_is_an_acknowledgement_or_said_not_to_be_one(answer: bytes) -> None:
    with pytest.raises(UnreadableAcknowledgementError):
        read_acknowledgement(answer, "CONTROL")


def test_the_error_of_older_versions_is_read_too() -> None:
    answer = b"MSH|^~\\&|R\rMSA|AR|C1\rERR|PID^1^3^207&why&HL70357\r"
    found = read_acknowledgement(answer, "C1")
    assert (found.errors, found.status) == (("207",), 0xA700)
