"""Render pages, and format the values of the ledger on them."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.responses import Response
from fastapi.templating import Jinja2Templates
from markupsafe import Markup
from pydicom.uid import UID
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from service.dicom.implementation import VERSION
from service.domain.job import Event, Job, JobState
from service.domain.reasons import EXPLANATIONS, Reason
from service.domain.user import OPEN_IDENTITY, Permission
from service.web.patient_words import person_name, written_date

STATE_WORDS: Final[dict[JobState, str]] = {
    JobState.RECEIVED: "Received",
    JobState.REPORTED: "Reported",
    JobState.DELIVERED: "Delivered",
    JobState.NOT_ANALYSED: "Not analysed",
    JobState.PARKED: "Parked",
    JobState.DISMISSED: "Dismissed",
}
STATE_MEANINGS: Final[dict[JobState, str]] = {
    JobState.RECEIVED: "Stored on disk, waiting for its prediction.",
    JobState.REPORTED: "The report is built and being delivered to every destination.",
    JobState.DELIVERED: "Every destination has the report.",
    JobState.NOT_ANALYSED: "The model did not analyse this instance.",
    JobState.PARKED: "Stopped until a person requeues it.",
    JobState.DISMISSED: "Closed by a person, who gave a reason.",
}
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400
_THOUSAND: Final = 1000

_TEMPLATES: Final = Jinja2Templates(Path(__file__).parent / "templates")


def render(
    request: Request, template: str, values: Mapping[str, Any], status: int = 200
) -> Response:
    """Render a page; all values are escaped.

    Templates also have `identity` (who asks) and `Permission`, to leave out what is not theirs.
    """
    everywhere = {"identity": getattr(request.state, "identity", OPEN_IDENTITY)}
    return _TEMPLATES.TemplateResponse(
        request, template, {**everywhere, **values}, status_code=status
    )


def clock_time(at: float) -> str:
    """Format a time (seconds since the epoch) in the time zone of this machine, to the second."""
    return _local(at).strftime("%Y-%m-%d %H:%M:%S")


def clock_of_day(at: float) -> str:
    """Format a time of day in the time zone of this machine, to the minute."""
    return _local(at).strftime("%H:%M")


def short_time(at: float) -> str:
    """Format a time to the minute, without its day if that is today."""
    is_today = _local(at).date() == _local(time.time()).date()
    return _local(at).strftime("%H:%M" if is_today else "%Y-%m-%d %H:%M")


def zone(at: float) -> Markup:
    """Return the name of this machine's time zone at a time, marked for `times.js`.

    The script puts the viewer's zone in its place when it rewrites the times.
    """
    return Markup("<span data-zone>{}</span>").format(_local(at).tzname() or "")


def zone_now() -> Markup:
    """Return `zone` at this moment."""
    return zone(time.time())


def machine_time(at: float) -> str:
    """Format a time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def duration(seconds: float | None) -> str:
    """Format a duration in s, min, h or d; blank for None."""
    if seconds is None:
        return ""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.1f} min"
    return f"{seconds / _HOUR:.1f} h" if seconds < _DAY else f"{seconds / _DAY:.1f} d"


def size(count: float) -> str:
    """Format a number of bytes in KB, MB, GB or TB."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if count < _THOUSAND:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= _THOUSAND
    return f"{count:.1f} TB"


def seconds_until_delivered(job: Job) -> float | None:
    """Return the seconds from receipt to delivery; None for a job that is not delivered."""
    if job.state is not JobState.DELIVERED or job.finished_at is None:
        return None
    return job.finished_at - job.received_at


def probability(value: float | None) -> str:
    """Format a probability with three decimals, as in the report; blank for None."""
    return "" if value is None else f"{value:.3f}"


def dimse_status(status: int | None) -> str:
    """Format a C-STORE status in hexadecimal with its meaning (PS3.4 B.2.3, PS3.7 annex C)."""
    if status is None:
        return ""
    category, meaning = STORAGE_SERVICE_CLASS_STATUS.get(
        status, ("Unknown", "in no table of the standard")
    )
    return f"0x{status:04X} {category}" + (f": {meaning}" if meaning else "")


def uid_name(uid: str) -> str:
    """Format a UID with its name in the standard; any other UID as it is."""
    name = UID(uid).name
    return uid if name == uid else f"{name} ({uid})"


def explanation(reason: Reason | None) -> str:
    """Return the sentence that explains a coded reason; blank for None."""
    return "" if reason is None else EXPLANATIONS[reason]


def details(event: Event) -> str:
    """Format an event's details in one line."""
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in event.detail.items()
    )


def failure_words(event: Event) -> str:
    """Format why a delivery failed: a DIMSE status, a coded reason, or a fixed word."""
    status, reason, why = (event.detail.get(name) for name in ("status", "reason", "why"))
    if isinstance(status, str):
        return f"refused: {dimse_status(int(status, 16))}"
    if isinstance(reason, str):
        return EXPLANATIONS[Reason(reason)]
    return str(why or event.name).replace("-", " ")


_TEMPLATES.env.globals["version"] = VERSION
_TEMPLATES.env.globals["Permission"] = Permission
_TEMPLATES.env.globals["zone_now"] = zone_now
_TEMPLATES.env.globals["state_words"] = STATE_WORDS
_TEMPLATES.env.globals["state_meanings"] = STATE_MEANINGS
for _function in (
    clock_time,
    clock_of_day,
    short_time,
    machine_time,
    duration,
    size,
    seconds_until_delivered,
    probability,
    person_name,
    written_date,
    dimse_status,
    failure_words,
    explanation,
    uid_name,
    details,
):
    _TEMPLATES.env.filters[_function.__name__] = _function


def _local(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC).astimezone()
