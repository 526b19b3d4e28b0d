"""Scripts fetch OpenID provider and FHIR validator of the tests, and only what was reviewed."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import pytest
from support.system.machine import ROOT, Machine

SHARED: Final = "deploy/setup/npm_locked.sh"  # what the scripts have in common


@dataclass(frozen=True)
class Fetched:
    """What a script fetches with npm."""

    name: str
    package: str
    tested: str  # with it

    @property
    def script(self) -> str:
        return f"deploy/setup/{self.name}.sh"

    @property
    def lock(self) -> str:
        return f"deploy/setup/{self.name}/package-lock.json"

    @property
    def folder(self) -> str:
        return f"project/.cache/{self.name}"

    @property
    def npm(self) -> str:
        return f"""
echo "$*" >>"$NOTES"
mkdir -p "$3/node_modules/{self.package}"
"""


EVERY = (
    Fetched("openid", "oidc-provider", "sign-in at a real OpenID provider"),
    Fetched("fhir", "fhir", "FHIR resources by the definitions of R4"),
)


@pytest.fixture(params=EVERY, ids=lambda each: each.name)
def fetched(request: pytest.FixtureRequest) -> Fetched:
    """Each of what is fetched."""
    return cast("Fetched", request.param)


@pytest.fixture
def workplace(machine: Machine, fetched: Fetched) -> Machine:
    """A machine with an npm whose registry has what is locked."""
    machine.add("bin/npm", fetched.npm)
    for name in ("cmp",):
        found = shutil.which(name)
        assert found is not None
        (machine.folder / "bin" / name).symlink_to(found)
    folder = (machine.project / fetched.lock).parent
    shutil.copytree((ROOT / fetched.lock).parent, folder)
    shutil.copy(ROOT / SHARED, machine.project / SHARED)
    return machine


def test_the_lock_names_each_package_by_its_hash_and_no_registry(fetched: Fetched) -> None:
    packages = json.loads((ROOT / fetched.lock).read_text())["packages"]
    own = packages.pop("")
    (version,) = own["dependencies"].values()
    assert packages[f"node_modules/{fetched.package}"]["version"] == version
    for name, package in packages.items():
        # what is bundled is in the file of the package that has a hash
        assert package.get("inBundle") or package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


def test_it_is_fetched_without_running_any_script_of_a_package(
    workplace: Machine, fetched: Fetched
) -> None:
    done = workplace.run(fetched.script)

    assert done.returncode == 0, done.stderr
    (note,) = workplace.notes()
    assert note.startswith("ci --prefix ")
    assert " --ignore-scripts " in note
    assert (workplace.folder / fetched.folder / "node_modules" / fetched.package).is_dir()
    assert [each.name for each in (workplace.project / ".cache").iterdir()] == [fetched.name]


def test_what_is_there_is_not_fetched_again_until_the_lock_changes(
    workplace: Machine, fetched: Fetched
) -> None:
    workplace.run(fetched.script)
    again = workplace.run(fetched.script)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(workplace.notes()) == 1

    lock = workplace.project / fetched.lock
    lock.write_text(lock.read_text() + "\n")
    assert workplace.run(fetched.script).returncode == 0
    assert len(workplace.notes()) == 2


def test_what_has_another_hash_is_refused_and_nothing_is_left(
    workplace: Machine, fetched: Fetched
) -> None:
    workplace.add("bin/npm", "echo 'npm error code EINTEGRITY' >&2; exit 1")

    done = workplace.run(fetched.script)

    assert done.returncode == 1
    assert "not what was reviewed" in done.stderr
    assert list((workplace.project / ".cache").iterdir()) == []


def test_where_it_cannot_be_fetched_a_line_says_what_is_not_tested(
    workplace: Machine, fetched: Fetched, cut_off: Callable[[Machine], None]
) -> None:
    cut_off(workplace)

    done = workplace.run(fetched.script)

    assert done.returncode == 0
    assert f"so not tested: {fetched.tested}" in done.stderr
    assert not (workplace.folder / fetched.folder).exists()
