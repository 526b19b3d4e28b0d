"""What the code can log: each event with its levels and fields, read from the source."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
LOGS: Final = {"log", "structlog.get_logger()"}
METHODS: Final = {
    **{level: level for level in ("debug", "info", "warning", "error", "critical")},
    "exception": "error",
    "log": "",  # whose first argument says it
}
ERROR: Final = "error"
OF_ERRORS: Final = (ERROR, "cause", "place")  # what is written of an exception


@dataclass
class LoggedEvent:
    """An event, wherever it is logged."""

    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)


def sources() -> Iterator[tuple[Path, ast.AST]]:
    """Yield the files that may log, parsed; one without the name of a log does not."""
    for folder in ("service", "workers", "monai_bundle/scripts"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            if "log" in text:
                yield path, ast.parse(text)


def logged_events() -> dict[str, LoggedEvent]:
    """Return each event that the code can log, by name."""
    events: defaultdict[str, LoggedEvent] = defaultdict(LoggedEvent)
    for _, tree in sources():
        for call in _calls(tree):
            levels, names = _levels_and_names(call)
            for name in names:
                events[name].levels |= levels
                events[name].fields |= set(_fields(call))
    return dict(events)


def other_uses() -> list[str]:
    """List where a log is used in another way than by a call of one of its methods."""
    found = []
    for path, tree in sources():
        called = {id(call.func) for call in _calls(tree)}
        found += [
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and ast.unparse(node.value) in LOGS
            and id(node) not in called
        ]
    return found


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in METHODS
            and ast.unparse(node.func.value) in LOGS
        ):
            yield node


def _levels_and_names(call: ast.Call) -> tuple[set[str], list[str]]:
    assert isinstance(call.func, ast.Attribute)
    level = METHODS[call.func.attr]
    if level:
        return {level}, list(_texts(call.args[0]))
    said = [ast.unparse(each).removeprefix("logging.") for each in _branches(call.args[0])]
    return {each.lower() if each.isupper() else "of the record" for each in said}, list(
        _texts(call.args[1])
    )


def _texts(argument: ast.expr) -> Iterator[str]:
    for each in _branches(argument):
        assert isinstance(each, ast.Constant), f"an event that is computed: {ast.unparse(each)}"
        yield str(each.value)


def _branches(argument: ast.expr) -> Iterator[ast.expr]:
    """Yield what an argument may be: itself, or either side of a condition."""
    if isinstance(argument, ast.IfExp):
        yield from _branches(argument.body)
        yield from _branches(argument.orelse)
    else:
        yield argument


def _fields(call: ast.Call) -> Iterator[str]:
    assert isinstance(call.func, ast.Attribute)
    if call.func.attr == "exception":
        yield ERROR
    for keyword in call.keywords:
        assert keyword.arg is not None, "fields that are computed"
        yield ERROR if keyword.arg == "exc_info" else keyword.arg
