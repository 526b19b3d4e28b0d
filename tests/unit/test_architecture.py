"""What may know of what: the walls of the house that import-linter cannot see."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def imported_by(module: str) -> set[str]:
    """Import a module in a fresh interpreter and list the top-level packages that came with it."""
    program = (
        f"import sys, {module}; print('\\n'.join(sorted(m.split('.')[0] for m in sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["service.supervision.processes", "service.supervision.up", "workers.tasks.deliver"]
)
def test_receiving_and_delivering_never_load_the_model_s_libraries(module: str) -> None:
    loaded = imported_by(module)
    assert loaded.isdisjoint({"torch", "monai", "ignite", "scripts"})


def test_delivering_does_not_load_the_report_s_library() -> None:
    assert "highdicom" not in imported_by("workers.tasks.deliver")


def test_the_command_itself_loads_next_to_nothing() -> None:
    assert imported_by("service.cli").isdisjoint({"torch", "sqlalchemy", "pynetdicom", "celery"})


def test_the_bundle_imports_nothing_of_ours() -> None:
    for script in (ROOT / "monai_bundle").rglob("*.py"):
        for node in ast.walk(ast.parse(script.read_text())):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            assert {name.split(".")[0] for name in names}.isdisjoint({"service", "workers"}), script


def test_nothing_is_pickled() -> None:
    for package in ("service", "workers"):
        for source in (ROOT / package).rglob("*.py"):
            assert "pickle" not in source.read_text(), source
