"""Rules about imports that import-linter cannot hold, and a few about the code as text."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
INFERENCE: Final = ROOT / "workers" / "inference"


def direct_imports(source: Path) -> Iterator[str]:
    """Yield the top-level packages that a file imports itself, inside functions too."""
    for node in ast.walk(ast.parse(source.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.split(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module)):
                yield module.split(".")[0]


@functools.cache
def imported_by(module: str) -> set[str]:
    """Import a module in a fresh interpreter and list the top-level packages that came with it."""
    program = (
        f"import sys, {module}; print('\\n'.join(sorted(m.split('.')[0] for m in sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return set(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["service.supervision.processes", "service.supervision.up", "workers.tasks.deliver"]
)
def test_receiving_and_delivering_never_load_the_model_s_libraries(module: str) -> None:
    loaded = imported_by(module)
    assert loaded.isdisjoint({"torch", "monai", "ignite", "scripts"})


@pytest.mark.slow
def test_delivering_does_not_load_the_report_s_library() -> None:
    assert "highdicom" not in imported_by("workers.tasks.deliver")


def test_the_command_itself_loads_next_to_nothing() -> None:
    assert imported_by("service.cli").isdisjoint({"torch", "sqlalchemy", "pynetdicom", "celery"})


def test_the_bundle_imports_neither_service_nor_workers() -> None:
    for script in (ROOT / "monai_bundle").rglob("*.py"):
        assert {"service", "workers"}.isdisjoint(direct_imports(script)), script


def test_only_inference_imports_torch_or_monai() -> None:
    importing = {
        source
        for package in ("service", "workers")
        for source in (ROOT / package).rglob("*.py")
        if not {"torch", "monai"}.isdisjoint(direct_imports(source))
    }
    assert importing
    assert {source for source in importing if INFERENCE not in source.parents} == set()


def test_nothing_is_pickled() -> None:
    for package in ("service", "workers"):
        for source in (ROOT / package).rglob("*.py"):
            assert "pickle" not in source.read_text(), source
