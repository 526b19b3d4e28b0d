"""`deploy/setup/ohif.sh` fetches OHIF once, and only what was reviewed."""

import pytest
from support.system.machine import Machine

SCRIPT = "deploy/setup/ohif.sh"
FOLDER = "project/.cache/ohif"
NPM = """
echo "$*" >>"$NOTES"
while [ "$1" != --pack-destination ]; do shift; done
mkdir -p "$MACHINE/packed/package/dist/ort"
echo viewer >"$MACHINE/packed/package/dist/index.html"
echo large >"$MACHINE/packed/package/dist/ort/model.wasm"
tar -czf "$2/ohif.tgz" -C "$MACHINE/packed" package
"""


@pytest.fixture
def workplace(machine: Machine) -> Machine:
    """A machine with an npm whose registry has OHIF, and a digest that is as it should be."""
    machine.add("bin/npm", NPM)
    machine.add("bin/sha512sum", "cat >/dev/null")
    return machine


def test_the_viewer_is_fetched_at_its_version_and_unpacked_without_what_is_not_used(
    workplace: Machine,
) -> None:
    done = workplace.run(SCRIPT)

    assert done.returncode == 0, done.stderr
    assert workplace.notes()[0].startswith("pack @ohif/app@3.")
    assert (workplace.folder / FOLDER / "dist/index.html").read_text() == "viewer\n"
    assert not (workplace.folder / FOLDER / "dist/ort").exists()
    assert [each.name for each in (workplace.folder / "project/.cache").iterdir()] == ["ohif"]


def test_a_viewer_that_is_there_is_not_fetched_again(workplace: Machine) -> None:
    workplace.run(SCRIPT)
    again = workplace.run(SCRIPT)

    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(workplace.notes()) == 1


def test_another_version_takes_the_place_of_the_one_that_is_there(workplace: Machine) -> None:
    workplace.run(SCRIPT)
    (workplace.folder / FOLDER / "version").write_text("3.0.0\n")
    (workplace.folder / FOLDER / "dist/old.js").touch()

    workplace.run(SCRIPT)

    assert len(workplace.notes()) == 2
    assert not (workplace.folder / FOLDER / "dist/old.js").exists()


def test_what_has_another_digest_is_refused_and_nothing_is_left(workplace: Machine) -> None:
    workplace.add("bin/sha512sum", "cat >/dev/null; exit 1")

    done = workplace.run(SCRIPT)

    assert done.returncode == 1
    assert "not the @ohif/app" in done.stderr
    assert list((workplace.folder / "project/.cache").iterdir()) == []


@pytest.mark.parametrize("npm", [None, "exit 1"], ids=["no-npm", "no-registry"])
def test_where_it_cannot_be_fetched_a_line_says_what_is_not_tested(
    machine: Machine, npm: str | None
) -> None:
    if npm is not None:
        machine.add("bin/npm", npm)

    done = machine.run(SCRIPT)

    assert done.returncode == 0
    assert "so not tested: what a person sees in a real viewer" in done.stderr
    assert not (machine.folder / FOLDER).exists()
