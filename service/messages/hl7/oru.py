"""An unsolicited result about a report: ORU^R01 of HL7 v2.5.1 in ER7, by a template.

The message is the same however often it is sent, its control ID included, so that a receiver can
tell a repeat (HL7 v2.5.1 2.14.9.10).
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.messages.facts import ReportFacts
from service.messages.templating import (
    MessageTemplateError,
    load_template,
    render,
    shipped_template,
)

SHIPPED: Final = shipped_template("oru_r01.hl7")
SEGMENT_END: Final = "\r"
_CONTROL_ID_LENGTH: Final = 20  # HL7 v2.5.1 2.14.9.10
_ESCAPES: Final = {  # HL7 v2.5.1 2.7.1
    "\\": "\\E\\",
    "|": "\\F\\",
    "^": "\\S\\",
    "&": "\\T\\",
    "~": "\\R\\",
}
_CONTROL_ID: Final = 9  # MSH-10: MSH-1 is the first delimiter itself
_SEGMENT: Final = re.compile(r"[A-Z][A-Z0-9]{2}\|.*")
_UNNUMBERED: Final = re.compile(r"(OBX|NTE)\|\|")


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """Who sends the message, and to whom; blank where it is not said."""

    sending_application: str
    sending_facility: str
    receiving_application: str
    receiving_facility: str
    processing_id: str  # P, T or D


@dataclass(frozen=True, slots=True, kw_only=True)
class Hl7Message:
    """A message, and the control ID by which its acknowledgement names it."""

    control_id: str
    text: str  # segments, each ended by a carriage return

    def encode(self) -> bytes:
        """Return the bytes, in the character set that MSH-18 names."""
        return self.text.encode()


class OruTemplate:
    """Makes messages about reports."""

    def __init__(self, template_file: Path | None, names: Names, destination: str) -> None:
        """Load the template.

        Raises:
            MessageTemplateError: it cannot be read, or is no template.
        """
        self._template = load_template(template_file or SHIPPED, escape)
        self._names = names
        self._destination = destination

    def of(self, report: ReportFacts) -> Hl7Message:
        """Return the message about a report.

        Raises:
            MessageTemplateError: the template makes no message.
        """
        control_id = control_id_of(report.sop_instance_uid, self._destination)
        names = self._names
        text = render(
            self._template,
            report,
            {
                "sending_application": names.sending_application,
                "sending_facility": names.sending_facility,
                "receiving_application": names.receiving_application,
                "receiving_facility": names.receiving_facility,
                "processing_id": names.processing_id,
                "control_id": control_id,
                "dated": timestamp(report),
            },
        )
        return Hl7Message(control_id=control_id, text=_assembled(text, control_id))


def control_id_of(report_uid: str, destination: str) -> str:
    """Derive the control ID (MSH-10) of the message about a report to a destination."""
    digest = hashlib.sha256(f"{destination}\0{report_uid}".encode()).hexdigest()
    return digest[:_CONTROL_ID_LENGTH].upper()


def timestamp(report: ReportFacts) -> str:
    """Return when a report is dated, as HL7 writes it (v2.5.1 2.A.22)."""
    return report.dated_at.strftime("%Y%m%d%H%M%S%z")


def escape(value: object) -> str:
    """Write a value into a component: delimiters escaped, without control characters."""
    if value is None:
        return ""
    plain = (
        " " if unicodedata.category(each) in {"Cc", "Zl", "Zp"} else _ESCAPES.get(each, each)
        for each in str(value)
    )
    return "".join(plain).strip()


def _assembled(text: str, control_id: str) -> str:
    """Put the lines of a template together: blank ones left out, OBX and NTE numbered.

    Raises:
        MessageTemplateError: a line is no segment, or the first names no control ID.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wrong = next((n for n, line in enumerate(lines, 1) if not _SEGMENT.fullmatch(line)), None)
    if wrong is not None:
        raise MessageTemplateError(f"line {wrong} of the message is no segment of HL7")
    head = lines[0].split("|") if lines else []
    if len(head) <= _CONTROL_ID or head[0] != "MSH" or head[1] != "^~\\&":
        raise MessageTemplateError(r"the message does not begin with MSH|^~\&|")
    if head[_CONTROL_ID] != control_id:
        raise MessageTemplateError("MSH-10 is not the control_id, which acknowledgements name")
    return "".join(f"{line.rstrip('|')}{SEGMENT_END}" for line in _numbered(lines))


def _numbered(lines: list[str]) -> list[str]:
    counts = {"OBX": 0, "NTE": 0}
    numbered = []
    for line in lines:
        name = line[:3]
        if name not in counts:
            numbered.append(line)
            continue
        counts["NTE"] = counts["NTE"] + 1 if name == "NTE" else 0  # notes count within their parent
        counts["OBX"] += name == "OBX"
        numbered.append(_UNNUMBERED.sub(rf"\1|{counts[name]}|", line, count=1))
    return numbered
