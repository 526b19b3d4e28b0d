"""Templates of messages: Jinja in a sandbox, each value written as the format of the message needs.

A template is the operator's. Its values are of the wire: written by a template as they are, they
could add a field, a segment or a line of their own.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from service.errors import ExplainedError
from service.messages.facts import ReportFacts

_SHIPPED: Final = Path(__file__).parent / "templates"

Write = Callable[[object], str]


class MessageTemplateError(ExplainedError):
    """A template cannot be read, or makes no message; the message says why, without its values."""


def shipped_template(name: str) -> Path:
    """Return the file of a template that Lobar ships."""
    return _SHIPPED / name


def load_template(file: Path, write: Write) -> Template:
    """Load a template.

    Args:
        file: where it is.
        write: writes a value into the message.

    Raises:
        MessageTemplateError: it cannot be read, or is no template.
    """
    try:
        text = file.read_text("utf-8")
    except OSError as exc:
        raise MessageTemplateError(f"template_file {file} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise MessageTemplateError(f"template_file {file} is not text in UTF-8") from exc
    environment = ImmutableSandboxedEnvironment(
        autoescape=False,  # `write` escapes each value
        finalize=write,
        keep_trailing_newline=False,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    try:
        return environment.from_string(text)
    except TemplateSyntaxError as exc:
        why = f"line {exc.lineno}: {exc.message}"
        raise MessageTemplateError(f"template_file {file} is no template: {why}") from exc


def render(template: Template, report: ReportFacts, values: Mapping[str, Any]) -> str:
    """Render a template with the facts of a report, by their names, and further values.

    Raises:
        MessageTemplateError: it uses what is not there, or does what a template may not.
    """
    facts = {each.name: getattr(report, each.name) for each in fields(report)}
    said = {name: getattr(report, name) for name in ("sentence", "explanation", "caution")}
    try:
        return template.render(**facts, **said, **values)
    except (TemplateError, ArithmeticError, TypeError, ValueError) as exc:
        # only what the template says: other messages may quote a value
        why = exc.message if isinstance(exc, TemplateError) else type(exc).__name__
        raise MessageTemplateError(f"the template cannot be rendered: {why}") from None


def as_json(text: str) -> Any:  # noqa: ANN401 -- JSON
    """Parse what a template made.

    Raises:
        MessageTemplateError: it is not JSON.
    """
    try:
        return json.loads(text)
    except ValueError as exc:
        where = f"line {exc.lineno}" if isinstance(exc, json.JSONDecodeError) else "somewhere"
        raise MessageTemplateError(f"what the template makes is not JSON: see {where}") from None


def write_json(value: object) -> str:
    """Write a value of a template as JSON, quotes included."""
    return json.dumps(value, ensure_ascii=False, default=str)
