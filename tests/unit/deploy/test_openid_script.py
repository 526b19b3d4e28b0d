"""`deploy/setup/openid.sh` fetches the OpenID provider of the tests, and only what was reviewed."""

import json
import shutil
from pathlib import Path

import pytest
from support.system.machine import ROOT, Machine

SCRIPT = "deploy/setup/openid.sh"
LOCK = "deploy/setup/openid/package-lock.json"
FOLDER = "project/.cache/openid"
NPM = """
echo "$*" >>"$NOTES"
mkdir -p "$3/node_modules/oidc-provider"
"""


@pytest.fixture
def workplace(machine: Machine) -> Machine:
    """A machine with an npm whose registry has what is locked."""
    machine.add("bin/npm", NPM)
    for name in ("cmp",):
        found = shutil.which(name)
        assert found is not None
        (machine.folder / "bin" / name).symlink_to(found)
    folder = (machine.project / LOCK).parent
    shutil.copytree((ROOT / LOCK).parent, folder)
    return machine


def test_the_lock_names_each_package_by_its_hash_and_no_registry() -> None:
    packages = json.loads((ROOT / LOCK).read_text())["packages"]
    own = packages.pop("")
    (version,) = own["dependencies"].values()
    assert packages["node_modules/oidc-provider"]["version"] == version
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


def test_it_is_fetched_without_running_any_script_of_a_package(workplace: Machine) -> None:
    done = workplace.run(SCRIPT)

    assert done.returncode == 0, done.stderr
    (note,) = workplace.notes()
    assert note.startswith("ci --prefix ")
    assert " --ignore-scripts " in note
    assert (workplace.folder / FOLDER / "node_modules/oidc-provider").is_dir()
    assert [each.name for each in (workplace.project / ".cache").iterdir()] == ["openid"]


def test_what_is_there_is_not_fetched_again_until_the_lock_changes(workplace: Machine) -> None:
    workplace.run(SCRIPT)
    again = workplace.run(SCRIPT)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(workplace.notes()) == 1

    lock = workplace.project / LOCK
    lock.write_text(lock.read_text() + "\n")
    assert workplace.run(SCRIPT).returncode == 0
    assert len(workplace.notes()) == 2


def test_what_has_another_hash_is_refused_and_nothing_is_left(workplace: Machine) -> None:
    workplace.add("bin/npm", "echo 'npm error code EINTEGRITY' >&2; exit 1")

    done = workplace.run(SCRIPT)

    assert done.returncode == 1
    assert "not what was reviewed" in done.stderr
    assert list((workplace.project / ".cache").iterdir()) == []


@pytest.mark.parametrize("npm", [None, "exit 1"], ids=["no-npm", "no-registry"])
def test_where_it_cannot_be_fetched_a_line_says_what_is_not_tested(
    workplace: Machine, npm: str | None
) -> None:
    if npm is None:
        Path(workplace.folder / "bin/npm").unlink()
    else:
        workplace.add("bin/npm", npm)

    done = workplace.run(SCRIPT)

    assert done.returncode == 0
    assert "so not tested: sign-in at a real OpenID provider" in done.stderr
    assert not (workplace.folder / FOLDER).exists()
