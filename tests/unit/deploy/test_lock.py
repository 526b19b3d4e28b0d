"""The lock says what `make setup` installs: every file by its hash, and from no named place."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = re.compile(r"[a-z0-9._-]+==[^\s;]+( ; [^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+")


def locked() -> list[str]:
    """Each requirement of the lock, with its hashes, as one line."""
    return LOCK.replace("\\\n", " ").splitlines()


def wanted() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    dependencies = PROJECT["dependencies"] + [each for extra in extras for each in extra]
    return [Requirement(each) for each in dependencies]


def test_every_requirement_is_pinned_and_has_a_hash() -> None:
    assert len(locked()) > 50
    assert [line for line in locked() if not PINNED.fullmatch(line)] == []


def test_the_lock_holds_more_than_the_one_file_that_fits_the_machine_that_wrote_it() -> None:
    """An index that has one wheel of a version must not hide the files for other Pythons."""
    assert [line for line in locked() if line.count("--hash=") < 2] == []


def test_the_lock_names_no_address() -> None:
    assert "//" not in LOCK
    assert "--index" not in LOCK
    assert "--find-links" not in LOCK


def test_the_lock_names_every_dependency_but_torch() -> None:
    names = {canonicalize_name(line.split("==")[0]) for line in locked()}
    assert {canonicalize_name(each.name) for each in wanted()} - names == {"torch"}


def test_the_pinned_versions_are_versions_the_project_asks_for() -> None:
    pinned = [line.split()[0].split("==") for line in locked()]
    for requirement in wanted():
        name = canonicalize_name(requirement.name)
        versions = [version for each, version in pinned if each == name]
        assert all(map(requirement.specifier.contains, versions)), f"{requirement}: {versions}"
