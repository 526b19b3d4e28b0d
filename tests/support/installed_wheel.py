"""The wheel, built from a copy of the sources and installed in a fresh environment."""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCES: Final = ("deploy", "docs", "monai_bundle", "service", "tests", "workers")
FILES: Final = ("LICENSE", "README.md", "pyproject.toml")
PIP: Final = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
# one thread, as for all tests: several would spin while they wait for each other
BARE: Final = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
OFFLINE: Final = ("--no-index", "--no-deps")


def build_wheel(folder: Path) -> Path:
    """Build the wheel, with the development environment's setuptools, and return its path.

    A copy of the sources is built, because setuptools also packs what an earlier build left in
    the repository's `build` folder.
    """
    copy = folder / "sources"
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, copy)
    run(*PIP, "wheel", *OFFLINE, "--no-build-isolation", "-w", str(folder), str(copy), at=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


class FreshEnvironment:
    """A virtual environment that holds a wheel and what the wheel requires, and nothing else.

    The requirements are links to the development environment's packages, so no network is needed.
    They are found by following the wheel's metadata without extras: a package that is imported and
    not required is missing here, and so is the repository.
    """

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder / "venv"
        self.site_packages = Path(
            sysconfig.get_path(
                "purelib", "venv", vars={"base": str(self.folder), "platbase": str(self.folder)}
            )
        )
        run(sys.executable, "-m", "venv", "--without-pip", str(self.folder), at=folder)
        python = str(self.folder / "bin" / "python")
        run(*PIP, "--python", python, "install", *OFFLINE, str(wheel), at=folder)
        links = folder / "links"
        links.mkdir()
        for package in _required(self.distribution()):
            _link(package, links)
        (self.site_packages / "requirements.pth").write_text(f"{links}\n")

    def distribution(self) -> Distribution:
        """Return the metadata of the installed wheel."""
        (metadata,) = self.site_packages.glob("lobar-*.dist-info")
        return Distribution.at(metadata)

    def run(
        self, program: str, *arguments: str, at: Path, status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in the folder `at`, without any setting."""
        return run(str(self.folder / "bin" / program), *arguments, at=at, status=status)


def run(
    *command: str, at: Path, status: int = 0, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a bare environment, and check its exit status."""
    done = subprocess.run(
        command,
        cwd=at,
        env={**BARE, "HOME": str(at), **(settings or {})},
        check=False,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def _required(top: Distribution) -> list[Distribution]:
    """Return the distributions that `top` requires here, directly and through others."""
    found: dict[tuple[str, frozenset[str]], Distribution] = {}
    to_follow = list(_requirements(top, frozenset()))
    while to_follow:
        requirement = to_follow.pop()
        extras = frozenset(requirement.extras)
        key = (canonicalize_name(requirement.name), extras)
        if key not in found:
            found[key] = distribution(requirement.name)
            to_follow.extend(_requirements(found[key], extras))
    return list(found.values())


def _requirements(package: Distribution, extras: frozenset[str]) -> Iterator[Requirement]:
    for line in package.requires or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": each}) for each in ("", *extras)):
            yield requirement


def _link(package: Distribution, folder: Path) -> None:
    """Link a distribution's modules and metadata into `folder`, without its .pth files."""
    tops = {file.parts[0] for file in package.files or []}
    for name in tops - {"..", "__pycache__"}:
        link = folder / name
        if not name.endswith(".pth") and not link.is_symlink():
            link.symlink_to(Path(str(package.locate_file(name))).resolve())
