"""Structured events on standard error, with nothing in them that could name a patient.

Patient data is kept out by what may pass, not by what is known to be bad: an event is a static
name, a field passes when `FIELDS` or `NUMBERS` lists it and its value has the listed form, anything
else is written as `[dropped]`. The text of an exception is never written, because it may quote the
wire; its type and the places in the code it went through are, and lead a reader to that text. The
same holds for what libraries log and warn: their logger's name, level and place are kept, and the
words only of those that do not see DICOM, before values are put in.
"""

import logging
import re
import sys
import threading
import traceback
import warnings
from collections.abc import MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TextIO

import structlog

from service.settings import LogSettings

DROPPED: Final = "[dropped]"

_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@/+-]{0,127}")  # codes and names of ours
_JOB_ID: Final = re.compile(r"[0-9a-f]{32}")
_UID: Final = re.compile(r"[0-9.]{1,64}")
_AE_TITLE: Final = re.compile(r"[ -\[\]-~]{1,16}")  # PS3.5 6.2
_HOST: Final = re.compile(r"[A-Za-z0-9.:_-]{1,253}")
_TEXT: Final = re.compile(r"[ -~]{1,1000}")  # of our own making only

FIELDS: Final[dict[str, re.Pattern[str]]] = {
    # what it is about
    "job_id": _JOB_ID,
    "corrects": _JOB_ID,
    "kind": _WORD,
    "source": _WORD,
    "sop_class_uid": _UID,
    "transfer_syntax_uid": _UID,
    "abstract_syntax_uid": _UID,
    # what became of it
    "reason": _WORD,
    "state": _WORD,
    "outcome": _WORD,
    "status": _WORD,
    "finding": _WORD,
    # between whom
    "destination": _WORD,
    "queue": _WORD,
    "role": _WORD,
    "holder": _WORD,
    "calling_ae_title": _AE_TITLE,
    "called_ae_title": _AE_TITLE,
    "ae_title": _AE_TITLE,
    "host": _HOST,
    # with what
    "model": _TEXT,
    "bundle": _WORD,
    "version": _WORD,
    "operating_point": _WORD,
    "device": _WORD,
    "directory": _TEXT,
    "setting": _WORD,
    # where in the code
    "logger": _WORD,
    "error": _WORD,
    "cause": _WORD,
    "place": _TEXT,
    "message": _TEXT,
}
"""Fields that hold words, and the form those must have."""

NUMBERS: Final = frozenset(
    {
        *("attempt", "tries", "refusals", "count", "instances", "jobs", "deliveries", "removed"),
        *("bytes", "size_bytes", "free_bytes", "seconds", "limit", "repeated", "ready"),
        *("pid", "port", "returncode", "status", "associations", "batch", "line", "at", "due_at"),
    }
)
"""Fields that hold a number or a truth."""

SPEAKING: Final = frozenset({"uvicorn", "celery", "kombu", "alembic"})
"""Libraries that see no DICOM: the words of their records, without the values, are written."""

_EVENT: Final = re.compile(r"[a-z][a-z0-9_]{2,63}")
_NEVER: Final = logging.CRITICAL + 1
_PLACES: Final = 12  # frames of a traceback, innermost last


def configure(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send every event, library record, warning and uncaught error to standard error; repeatable.

    Library records pass from WARNING up, whatever the level of our own events.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _name_error,
            _keep_allowed,
            _renderer(settings),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(settings.level),
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_LibraryRecords()], level=logging.WARNING, force=True)
    silence_pynetdicom()
    warnings.showwarning = _log_warning
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def silence_pynetdicom() -> None:
    """Keep pynetdicom's own log quiet: it quotes AE titles, UIDs and data sets.

    What an operator must know of an association is logged here instead, by whoever holds it.
    """
    logger = logging.getLogger("pynetdicom")
    logger.setLevel(_NEVER)
    logger.propagate = False


def _renderer(settings: LogSettings) -> structlog.typing.Processor:
    if settings.format == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=False)


def _keep_allowed(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Write `[dropped]` for whatever is not known to be harmless."""
    name = str(event.pop("event", ""))
    kept: dict[str, Any] = {
        "timestamp": event.pop("timestamp"),
        "level": event.pop("level"),
        "event": name if _EVENT.fullmatch(name) else DROPPED,
    }
    for field, value in event.items():
        kept[field if field.isidentifier() else DROPPED] = _allowed(field, value)
    return kept


def _allowed(field: str, value: object) -> object:
    if value is None:
        return None
    if field in NUMBERS and isinstance(value, bool | int | float):
        return value
    form = FIELDS.get(field)
    if form is not None and isinstance(value, str) and form.fullmatch(value):
        return str(value)
    return DROPPED


def _name_error(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace an exception by its type, its cause's type and its places in the code."""
    given = event.pop("exc_info", None)
    event.pop("stack_info", None)
    error = given[1] if isinstance(given, tuple) else given
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["error"] = _type_name(error)
        cause = error.__cause__ or error.__context__
        if cause is not None:
            event["cause"] = _type_name(cause)
        event["place"] = _places(error.__traceback__)
    return event


def _type_name(error: BaseException) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}".replace("<locals>", "")


def _places(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)[-_PLACES:]
    return " > ".join(_place(frame.filename, frame.lineno, frame.name) for frame in frames)


def _place(filename: str, line: int | None, function: str = "") -> str:
    """Name a place in the code by its last folder and file: enough to find, nothing to leak."""
    path = Path(filename)
    return f"{path.parent.name}/{path.name}:{line} {function}".rstrip()


class _LibraryRecords(logging.Handler):
    """What libraries log, as events of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        message = None
        if record.name.partition(".")[0] in SPEAKING:  # before values are put in
            message = " ".join(str(record.msg).split())[:200]
        structlog.get_logger().log(
            record.levelno,
            "library_record",
            logger=record.name,
            place=_place(record.pathname, record.lineno, record.funcName or ""),
            message=message,
            exc_info=record.exc_info,
        )


def _log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del message, file, line
    structlog.get_logger().warning(
        "library_warning", error=category.__name__, place=_place(filename, lineno)
    )


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    structlog.get_logger().critical("uncaught_error", exc_info=error)


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        structlog.get_logger().critical("uncaught_error", exc_info=args.exc_value)
