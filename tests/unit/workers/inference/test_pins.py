"""The code of a bundle is held to its digests before any of it is executed."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import SHIPPED_BUNDLE, BundleSettings
from workers.inference.bundle_error import BundleError
from workers.inference.pins import (
    PINS,
    check_results,
    digest_of,
    verified_pins,
    verify,
    write_pins,
)

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    for name, content in {
        "configs/inference.yaml": "network_def: 1",
        "configs/metadata.json": "{}",
        "scripts/__init__.py": "",
        "scripts/gate.py": "LIMIT = 1\n",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    write_pins(folder)
    return folder


def test_the_shipped_bundle_is_as_it_was_pinned() -> None:
    pins = verified_pins(SHIPPED_BUNDLE)
    assert pins is not None, "run `lobar bundle pin` after a change of the shipped bundle"
    assert "scripts/inference.py" in pins


def test_sha256sum_reads_the_pins(bundle: Path) -> None:
    done = subprocess.run(["sha256sum", "--check", "--strict", PINS], cwd=bundle, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("name", ["scripts/gate.py", "configs/inference.yaml"])
def test_a_changed_file_is_refused_by_name(bundle: Path, name: str) -> None:
    (bundle / name).write_text("import os")
    with pytest.raises(BundleError, match=rf"{name} differ from pins.*lobar bundle pin") as raised:
        verify(BundleSettings(path=bundle))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["scripts/more.py", "torch.py", "scripts/fast.so", "old.pyc"])
def test_a_file_that_is_not_pinned_is_refused(bundle: Path, name: str) -> None:
    (bundle / name).write_text("")
    with pytest.raises(BundleError, match=name):
        verify(BundleSettings(path=bundle))


def test_a_missing_file_is_refused(bundle: Path) -> None:
    (bundle / "scripts/gate.py").unlink()
    with pytest.raises(BundleError, match=r"scripts/gate\.py"):
        verify(BundleSettings(path=bundle))


def test_metadata_may_change_unless_the_settings_hold_the_whole_bundle(bundle: Path) -> None:
    settings = BundleSettings(path=bundle, digest=digest_of(bundle))
    verify(settings)
    (bundle / "configs/metadata.json").write_text('{"operating_points": {}}')
    verify(BundleSettings(path=bundle))
    with pytest.raises(BundleError, match=rf"bundle\.digest to {digest_of(bundle)}"):
        verify(settings)


def test_a_bundle_of_another_maker_needs_no_pins_and_is_held_to_those_it_is_given(
    bundle: Path,
) -> None:
    (bundle / PINS).unlink()
    (bundle / "scripts/gate.py").write_text("LIMIT = 2\n")
    assert verified_pins(bundle) is None
    (result,) = check_results(BundleSettings(path=bundle))
    assert (result.severity, "lobar bundle pin" in result.message) == (0, True)
    digest = write_pins(bundle)
    assert digest in check_results(BundleSettings(path=bundle))[0].message
    verify(BundleSettings(path=bundle, digest=digest))


def test_pins_that_are_no_list_of_digests_are_refused(bundle: Path) -> None:
    (bundle / PINS).write_text("nothing")
    with pytest.raises(BundleError, match="not what sha256sum writes"):
        verified_pins(bundle)


def test_the_check_names_the_fault(bundle: Path) -> None:
    (bundle / "scripts/gate.py").write_text("")
    (result,) = check_results(BundleSettings(path=bundle))
    assert (result.subject, result.severity) == ("bundle's code", 2)


IMPORTING = """
import sys
from pathlib import Path
from workers.inference.pins import import_as_pinned, verified_pins
bundle = Path(sys.argv[1])
import_as_pinned(bundle, verified_pins(bundle))
sys.path.insert(0, str(bundle))
import scripts
exec(sys.argv[2])
import scripts.gate
print(scripts.gate.LIMIT)
"""


def importing(bundle: Path, meanwhile: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", IMPORTING, bundle, meanwhile],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )


def test_a_pinned_module_is_imported(bundle: Path) -> None:
    assert importing(bundle).stdout == "1\n"
    assert not list(bundle.rglob("*.pyc")), "bytecode is neither written nor read"


def test_a_module_that_changes_after_the_check_is_not_imported(bundle: Path) -> None:
    done = importing(bundle, "(bundle / 'scripts/gate.py').write_text('LIMIT = 3')")
    assert done.returncode == 1
    assert "gate.py differs from pins.sha256" in done.stderr


def test_forged_bytecode_is_not_executed(bundle: Path) -> None:
    forging = (
        "import importlib._bootstrap_external as e, os; p = bundle / 'scripts/gate.py'; "
        "c = Path(e.cache_from_source(str(p))); c.parent.mkdir(exist_ok=True); "
        "c.write_bytes(e._code_to_timestamp_pyc(compile('LIMIT = 9', str(p), 'exec'), "
        "int(p.stat().st_mtime), p.stat().st_size))"
    )
    assert importing(bundle, forging).stdout == "1\n"
