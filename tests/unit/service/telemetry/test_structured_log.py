import ast
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from service.settings import LogSettings
from service.telemetry.structured_log import DROPPED, FIELDS, NUMBERS, configure

ROOT = Path(__file__).resolve().parents[4]
JOB_ID = "0123456789abcdef" * 2
Written = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def written() -> Iterator[Written]:
    root, hooks = logging.getLogger(), (sys.excepthook, threading.excepthook)
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    with warnings.catch_warnings():
        configure(LogSettings(level="debug"), stream)
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    root.handlers[:], (sys.excepthook, threading.excepthook) = handlers, hooks
    root.setLevel(level)


def test_an_event_is_one_line_of_json_with_time_level_and_fields(written: Written) -> None:
    structlog.get_logger().info("instance_received", job_id=JOB_ID, size_bytes=12, repeated=False)
    (line,) = written()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "instance_received",
        "job_id": JOB_ID,
        "size_bytes": 12,
        "repeated": False,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("patient_name", "Doe^Jane"),
        ("job_id", "Doe^Jane"),
        ("reason", "Doe^Jane was here"),
        ("calling_ae_title", "LOBAR\nevent=forged"),
        ("host", "pacs; rm -rf"),
        ("count", "twelve"),
        ("status", {"a": "Doe^Jane"}),
        ("seconds", ["Doe^Jane"]),
    ],
)
def test_a_field_or_value_that_is_not_allowed_is_dropped(
    written: Written, field: str, value: object
) -> None:
    structlog.get_logger().info("some_event", **{field: value})
    assert written()[0][field] == DROPPED
    assert "Doe" not in json.dumps(written())


def test_an_event_that_is_not_a_static_name_is_dropped(written: Written) -> None:
    structlog.get_logger().info("received Doe^Jane")
    assert written()[0]["event"] == DROPPED


def test_an_exception_is_written_as_types_and_places_without_its_text(written: Written) -> None:
    try:
        try:
            int("Doe^Jane")
        except ValueError as exc:
            raise OSError("cannot read Doe^Jane") from exc
    except OSError:
        structlog.get_logger().exception("read_failed", job_id=JOB_ID)
    (line,) = written()
    assert (line["error"], line["cause"]) == ("builtins.OSError", "builtins.ValueError")
    assert "test_structured_log.py:" in line["place"]
    assert "Doe" not in json.dumps(line)


def test_a_dicom_librarys_record_keeps_its_name_level_and_place_but_not_its_words(
    written: Written,
) -> None:
    logging.getLogger("pydicom.filereader").error("Patient's Name: %s", "Doe^Jane")
    logging.getLogger("pydicom").warning("Invalid value for VR PN: 'Doe^Jane'")
    first, second = written()
    assert (first["logger"], first["level"]) == ("pydicom.filereader", "error")
    assert "test_structured_log.py:" in first["place"]
    assert second["logger"] == "pydicom"
    assert first["message"] is None
    assert "Doe" not in json.dumps([first, second])


def test_a_record_of_the_web_server_keeps_its_words_but_not_the_values(written: Written) -> None:
    logging.getLogger("uvicorn.error").warning("ASGI callable raised on %s.\nAgain", "Doe^Jane")
    (line,) = written()
    assert line["message"] == "ASGI callable raised on %s. Again"


def test_pynetdicom_says_nothing_at_all(written: Written) -> None:
    logging.getLogger("pynetdicom.dimse").critical("Patient's Name: %s", "Doe^Jane")
    assert written() == []


def test_what_libraries_say_below_warning_is_not_written(written: Written) -> None:
    logging.getLogger("uvicorn.error").info("Started server process")
    assert written() == []


def test_a_warning_is_written_without_its_words(written: Written) -> None:
    warnings.simplefilter("always")
    warnings.warn("Invalid value 'Doe^Jane'", UserWarning, stacklevel=1)
    (line,) = written()
    assert (line["event"], line["error"]) == ("library_warning", "UserWarning")
    assert "Doe" not in json.dumps(line)


def test_an_uncaught_error_is_an_event_too(written: Written) -> None:
    sys.excepthook(ValueError, ValueError("Doe^Jane"), None)

    def fail() -> None:
        raise RuntimeError("Doe^Jane")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    assert [line["error"] for line in written()] == ["builtins.ValueError", "builtins.RuntimeError"]
    assert "Doe" not in json.dumps(written())


def test_the_level_in_the_settings_holds_for_our_own_events() -> None:
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging, "basicConfig", lambda **_: None)
        patch.setattr(sys, "excepthook", sys.excepthook)
        patch.setattr(threading, "excepthook", threading.excepthook)
        configure(LogSettings(level="warning", format="console"), stream)
    structlog.get_logger().info("too_quiet")
    structlog.get_logger().warning("loud_enough", job_id=JOB_ID)
    structlog.reset_defaults()
    assert "too_quiet" not in stream.getvalue()
    assert "loud_enough" in stream.getvalue()


def _logged_fields() -> Iterator[tuple[str, str]]:
    methods = {"debug", "info", "warning", "error", "exception", "critical", "bind"}
    for path in (*(ROOT / "service").rglob("*.py"), *(ROOT / "workers").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in methods
                and "log" in ast.unparse(node.func.value).lower()
            ):
                for keyword in node.keywords:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", keyword.arg or "**"


def test_every_field_that_the_code_logs_is_allowed() -> None:
    allowed = {*FIELDS, *NUMBERS, "exc_info"}
    assert [
        f"{where} logs {field}" for where, field in _logged_fields() if field not in allowed
    ] == []
