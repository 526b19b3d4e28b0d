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
    "module",
    [
        *(f"service.supervision.parts.{part}" for part in ("listener", "relay", "web")),
        *("service.supervision.up", "workers.tasks.deliver"),
    ],
)
def test_receiving_and_delivering_never_load_the_model_s_libraries(module: str) -> None:
    loaded = imported_by(module)
    assert loaded.isdisjoint({"torch", "monai", "ignite", "scripts"})


@pytest.mark.slow
def test_delivering_does_not_load_the_report_s_library() -> None:
    assert "highdicom" not in imported_by("workers.tasks.deliver")


def test_the_command_itself_loads_next_to_nothing() -> None:
    heavy = {"torch", "sqlalchemy", "pynetdicom", "celery", "pydicom", "numpy", "PIL"}
    assert imported_by("service.cli").isdisjoint(heavy)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["service.supervision.parts.relay", "service.supervision.up"])
def test_what_reads_no_instance_does_not_load_the_libraries_of_dicom(module: str) -> None:
    assert imported_by(module).isdisjoint({"pydicom", "pynetdicom", "numpy", "PIL", "fastapi"})


@pytest.mark.slow
def test_a_part_that_finds_its_ledger_migrated_does_without_alembic() -> None:
    assert "alembic" not in imported_by("service.supervision.parts.relay")


@pytest.mark.slow
def test_the_listener_does_not_load_the_libraries_of_the_pages() -> None:
    loaded = imported_by("service.supervision.parts.listener")
    assert loaded.isdisjoint({"fastapi", "httpx", "authlib"})


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


def requests_made(tree: ast.AST, *, holding: bool = False) -> Iterator[tuple[int, bool]]:
    """Yield the line of each DIMSE request made with pynetdicom, and whether `held` holds there."""
    if isinstance(tree, ast.With):
        holding = holding or any("held(" in ast.unparse(item) for item in tree.items)
    match tree:
        case ast.Call(func=ast.Attribute(attr=name)) if name.startswith(("send_c_", "send_n_")):
            yield tree.lineno, holding
    for child in ast.iter_child_nodes(tree):
        yield from requests_made(child, holding=holding)


def test_each_request_holds_the_thread_that_would_drop_its_response() -> None:
    """See `service/dicom/reactor_pause.py`; pynetdicom's `send_c_cancel` awaits no response."""
    requests = [
        (f"{source.relative_to(ROOT)}:{line}", held)
        for package in ("service", "workers", "tests")
        for source in (ROOT / package).rglob("*.py")
        for line, held in requests_made(ast.parse(source.read_text()))
    ]
    assert requests
    assert [where for where, held in requests if not held] == []
