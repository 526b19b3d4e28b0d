"""An e-mail about a report: its subject and text by a template."""

import hashlib
import unicodedata
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Final

from service.dicom.implementation import IMPLEMENTATION_VERSION_NAME
from service.messages.facts import ReportFacts
from service.messages.templating import (
    MessageTemplateError,
    load_template,
    render,
    shipped_template,
)

_SHIPPED: Final = shipped_template("summary.txt")
_LONGEST_SUBJECT: Final = 200


class EmailTemplate:
    """Makes e-mails about reports."""

    def __init__(
        self,
        template_file: Path | None,
        *,
        sender: str,
        recipients: Sequence[str],
        include_patient: bool,
        page_url: str | None,
    ) -> None:
        """Load the template.

        Args:
            template_file: its first line is the subject, the others are the text; None: the
                shipped one.
            sender: the address of the sender.
            recipients: the addresses of those who get the e-mail.
            include_patient: whether it may name the patient.
            page_url: the address of the pages, for a link to the job's.

        Raises:
            MessageTemplateError: the template cannot be read, or is none.
        """
        self._template = load_template(template_file or _SHIPPED, write_text)
        self._sender = sender
        self._recipients = tuple(recipients)
        self._include_patient = include_patient
        self._page_url = page_url

    def of(self, report: ReportFacts) -> EmailMessage:
        """Return the e-mail about a report, the same however often it is made.

        Raises:
            MessageTemplateError: the template makes no subject and text.
        """
        said = report if self._include_patient else report.without_patient()
        page = "" if self._page_url is None else f"{self._page_url}/jobs/{report.job_id}"
        subject, _, text = render(self._template, said, {"page": page}).lstrip().partition("\n")
        if not subject.strip() or not text.strip():
            raise MessageTemplateError("the template makes no subject in its first line and a text")
        email = EmailMessage(policy=SMTP)
        email["From"] = self._sender
        email["To"] = ", ".join(self._recipients)
        email["Subject"] = subject.strip()[:_LONGEST_SUBJECT]
        email["Date"] = format_datetime(report.dated_at)
        email["Message-ID"] = self._message_id(report)
        email["Auto-Submitted"] = "auto-generated"  # RFC 3834 5: nobody is to answer it
        email["User-Agent"] = IMPLEMENTATION_VERSION_NAME
        email.set_content(text.lstrip("\n"), cte="quoted-printable")
        return email

    def _message_id(self, report: ReportFacts) -> str:
        """Return the Message-ID, by which mail programs tell a repeat (RFC 5322 3.6.4)."""
        whom = "\0".join((report.sop_instance_uid, *self._recipients))
        domain = self._sender.rpartition("@")[2]
        return f"<{hashlib.sha256(whom.encode()).hexdigest()[:32]}@{domain}>"


def write_text(value: object) -> str:
    """Write a value into a line of text, without line breaks and other control characters."""
    if value is None:
        return ""
    return "".join(
        " " if unicodedata.category(each) in {"Cc", "Cf", "Zl", "Zp"} else each
        for each in str(value)
    ).strip()
