"""Scripts fetch OHIF and Mermaid once, of each what is used, and only what was reviewed."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import pytest
from support.system.machine import ROOT, Machine

SHARED: Final = "deploy/setup/npm_packed.sh"  # what the scripts have in common
NPM: Final = """
echo "$*" >>"$NOTES"
while [ "$1" != --pack-destination ]; do shift; done
packed="$MACHINE/packed/package"
mkdir -p "$packed/dist/ort"
for each in package.json dist/index.html dist/mermaid.min.js dist/other.mjs dist/ort/large.wasm; do
    echo "$each" >"$packed/$each"
done
tar -czf "$2/packed.tgz" -C "$MACHINE/packed" package
"""


@dataclass(frozen=True)
class Fetched:
    """What a script fetches with npm.

    Attributes:
        name: of the script.
        package: as npm is asked for it, with the first number of its version.
        kept: files of it that are unpacked, where they then are.
        left_out: what would be beside them.
        without: what the script says that it means where it cannot be fetched.
    """

    name: str
    package: str
    kept: tuple[str, ...]
    left_out: tuple[str, ...]
    without: str

    @property
    def script(self) -> str:
        return f"deploy/setup/{self.name}.sh"

    @property
    def folder(self) -> str:
        return f".cache/{self.name}"


EVERY: Final = (
    Fetched(
        name="ohif",
        package="@ohif/app@3.",
        kept=("dist/index.html", "package.json"),
        left_out=("dist/ort",),
        without="so not tested: what a person sees in a real viewer",
    ),
    Fetched(
        name="mermaid",
        package="mermaid@11.",
        kept=("mermaid.min.js",),
        left_out=("other.mjs", "dist", "package.json"),
        without="so the site shows diagrams as text",
    ),
)


@pytest.fixture(params=EVERY, ids=lambda each: each.name)
def fetched(request: pytest.FixtureRequest) -> Fetched:
    """Each of what is fetched."""
    return cast("Fetched", request.param)


@pytest.fixture
def workplace(machine: Machine) -> Machine:
    """A machine with an npm whose registry has each, and a digest that is as it should be."""
    machine.add("bin/npm", NPM)
    machine.add("bin/sha512sum", "cat >/dev/null")
    shared = machine.project / SHARED
    shared.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / SHARED, shared)
    return machine


def test_what_is_used_is_fetched_at_its_version(workplace: Machine, fetched: Fetched) -> None:
    done = workplace.run(fetched.script)

    assert done.returncode == 0, done.stderr
    assert workplace.notes()[0].startswith(f"pack {fetched.package}")
    folder = workplace.project / fetched.folder
    for name in fetched.kept:
        assert (folder / name).read_text().strip().endswith(name)
    assert not any((folder / name).exists() for name in fetched.left_out)
    assert not list(folder.glob("*.tgz"))
    assert [each.name for each in (workplace.project / ".cache").iterdir()] == [fetched.name]


def test_what_is_there_is_not_fetched_again(workplace: Machine, fetched: Fetched) -> None:
    workplace.run(fetched.script)
    again = workplace.run(fetched.script)

    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(workplace.notes()) == 1


def test_another_version_takes_the_place_of_the_one_that_is_there(
    workplace: Machine, fetched: Fetched
) -> None:
    workplace.run(fetched.script)
    folder = workplace.project / fetched.folder
    (folder / "version").write_text("3.0.0\n")
    (folder / "old.js").touch()

    workplace.run(fetched.script)

    assert len(workplace.notes()) == 2
    assert not (folder / "old.js").exists()


def test_what_has_another_digest_is_refused_and_nothing_is_left(
    workplace: Machine, fetched: Fetched
) -> None:
    workplace.add("bin/sha512sum", "cat >/dev/null; exit 1")

    done = workplace.run(fetched.script)

    assert done.returncode == 1
    assert "that was reviewed" in done.stderr
    assert list((workplace.project / ".cache").iterdir()) == []


def test_where_it_cannot_be_fetched_a_line_says_what_that_means(
    workplace: Machine, fetched: Fetched, cut_off: Callable[[Machine], None]
) -> None:
    cut_off(workplace)

    done = workplace.run(fetched.script)

    assert done.returncode == 0
    assert fetched.without in done.stderr
    assert not (workplace.project / fetched.folder).exists()
