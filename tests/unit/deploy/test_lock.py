"""The lock says what `make setup` installs: every file by its hash, and from no named place."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
LOCK = (ROOT / "requirements.lock").read_text()
RUNTIME = (ROOT / "requirements-runtime.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PINNED = re.compile(r"[a-z0-9._-]+==[^\s;]+( ; [^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+")


def locked(lock: str = LOCK) -> list[str]:
    """Each requirement of a lock, with its hashes, as one line."""
    return lock.replace("\\\n", " ").splitlines()


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


def files(lock: str) -> set[tuple[str, ...]]:
    """Each requirement of a lock as its version and its hashes; markers may differ."""
    return {(line.split()[0], *re.findall(r"--hash=(\S+)", line)) for line in locked(lock)}


def test_the_runtime_lock_is_a_part_of_the_lock() -> None:
    assert files(RUNTIME) < files(LOCK)


def test_the_runtime_lock_names_what_an_installation_needs_and_no_more() -> None:
    """It follows the requirements that the installed distributions state."""
    extras: dict[str, set[str]] = {}
    waiting = [*map(Requirement, PROJECT["dependencies"]), Requirement("torch")]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in extras and requirement.extras <= extras[name]:
            continue
        extras[name] = extras.get(name, set()) | requirement.extras
        for each in map(Requirement, requires(name) or ()):
            contexts = [{"extra": extra} for extra in ("", *extras[name])]
            if each.marker is None or any(map(each.marker.evaluate, contexts)):
                waiting.append(each)
    named = [Requirement(line.partition(" --hash")[0]) for line in locked(RUNTIME)]
    here = {each.name for each in named if each.marker is None or each.marker.evaluate()}
    assert set(map(canonicalize_name, here)) == set(extras) - {"torch"}
