"""The image of the Containerfile, built by Buildah on a Debian made by mmdebstrap.

No registry is asked and no engine runs: the base is made of this machine's sources of packages, and
pip in the build has this machine's configuration. Both are handed in from outside, and the image
keeps neither.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from support.containers.container import ROOT
from support.containers.containerfile import Image
from support.system.programs import need_program

BASE: Final = "localhost/lobar-base:12"
TAG: Final = "localhost/lobar:test"
SUITE: Final = "bookworm"
BUILD_SECONDS: Final = 2400


class BuiltImage:
    """An image in a store of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.log = folder / "build.log"
        self._buildah: list[str | Path] = [
            *(need_program("buildah"), "--root", folder / "store", "--runroot", folder / "run"),
            *("--storage-driver", "overlay"),
        ]

    def build(self, target: str) -> None:
        """Build a target, as `deploy/containers/build.sh` does."""
        self._make_base()
        engine = self._folder / "bin" / "buildah"
        engine.parent.mkdir()
        words = " ".join(map(str, self._buildah))
        engine.write_text(f'#!/bin/sh\ncommand="$1"; shift\nexec {words} "$command" "$@"\n')
        engine.chmod(0o755)
        options = ["--isolation", "chroot", "--build-arg", f"BASE={BASE}", *self._pip_options()]
        variables = [f"PATH={engine.parent}:/usr/bin:/bin", "ENGINE=buildah", f"IMAGE={TAG}"]
        script = ROOT / "deploy" / "containers" / "build.sh"
        self._run(["env", *variables, "bash", script, target, *options])

    def described(self) -> dict[str, Any]:
        """Return what the image says of itself."""
        done = self._run([*self._buildah, "inspect", "--type", "image", TAG])
        read: dict[str, Any] = json.loads(done)["Docker"]["config"]
        return read

    def image(self) -> Image:
        """Return what a container inherits of it."""
        config = self.described()
        return Image(
            entrypoint=config["Entrypoint"],
            command=config["Cmd"],
            environment=dict(each.split("=", 1) for each in config["Env"]),
            user=config["User"],
            working_dir=config["WorkingDir"],
        )

    def rootfs(self) -> Path:
        """Return the folder that has the files of the image."""
        name = self._run([*self._buildah, "from", "--pull-never", TAG]).strip().splitlines()[-1]
        return Path(self._run([*self._buildah, "mount", name]).strip())

    def _make_base(self) -> None:
        """Make the image that the Containerfile begins with: a Debian of essential packages."""
        archive = self._folder / "base.tar"
        sources = self._folder / "sources"
        sources.write_text(sources_of_debian())
        lenient = [
            "--aptopt=Acquire::Check-Valid-Until false",
            "--aptopt=Acquire::Check-Date false",
        ]
        bootstrap = [str(need_program("mmdebstrap")), "--variant=minbase", "--mode=root", *lenient]
        self._run([*bootstrap, SUITE, archive, sources])
        name = self._run([*self._buildah, "from", "scratch"]).strip()
        self._run([*self._buildah, "add", "--quiet", name, archive, "/"])
        self._run([*self._buildah, "commit", "--quiet", name, BASE])
        self._run([*self._buildah, "rm", name])
        archive.unlink()

    def _pip_options(self) -> list[str]:
        """Return the options that hand pip's configuration to the build, and what it names."""
        lines, places = pip_configuration()
        configuration = self._folder / "pip.conf"
        text = "[global]\n" + "\n".join(lines) + "\n"
        options = ["--secret", f"id=pip,src={configuration}"]
        for number, each in enumerate(places):
            there = str(each)
            if each.is_file():  # such as the certificates, which a package of the image writes
                there = f"/pip-{number}"
                text = text.replace(str(each), there)
            options += ["--volume", f"{each}:{there}:ro"]
        configuration.write_text(text)
        return options

    def _run(self, command: Sequence[str | Path]) -> str:
        with self.log.open("a") as log:
            done = subprocess.run(
                command,
                check=False,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                timeout=BUILD_SECONDS,
                cwd=ROOT,
            )
        with self.log.open("a") as log:
            log.write(done.stdout)
        assert done.returncode == 0, "\n".join(self.log.read_text().splitlines()[-40:])
        return done.stdout

    def close(self) -> None:
        """Remove containers, images and the store."""
        subprocess.run([*self._buildah, "umount", "--all"], check=False, capture_output=True)
        subprocess.run([*self._buildah, "rm", "--all"], check=False, capture_output=True)
        shutil.rmtree(self._folder / "store", ignore_errors=True)


def sources_of_debian() -> str:
    """Return this machine's sources of Debian's packages, in the format of sources.list(5)."""
    lines = []
    for file in [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("debian*")]:
        if file.exists():
            lines += _one_line_sources(file.read_text())
    assert lines, "no source of Debian's packages is configured on this machine"
    return "\n".join(lines) + "\n"


def _one_line_sources(text: str) -> list[str]:
    if "Types:" not in text:
        return [line for line in text.splitlines() if line.startswith("deb ") and SUITE in line]
    lines = []
    for stanza in text.split("\n\n"):
        fields = dict(
            line.split(": ", 1)
            for line in stanza.splitlines()
            if ": " in line and not line.startswith("#")
        )
        if fields.get("Types") == "deb":
            uri, components = fields["URIs"], fields["Components"]
            lines += [f"deb {uri} {suite} {components}" for suite in fields["Suites"].split()]
    return lines


def pip_configuration() -> tuple[list[str], list[Path]]:
    """Return pip's configuration here as lines of a file, and the files and folders it names."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    )
    chosen: dict[str, str] = {}
    for line in listed.stdout.splitlines():  # what the environment says is listed first and wins
        name, _, value = line.partition("=")
        chosen.setdefault(name.rpartition(".")[2], value.strip("'\""))
    words = [word for value in chosen.values() for word in value.replace("\\n", " ").split()]
    places = [Path(word.removeprefix("file://")) for word in words]
    there = [place for place in places if place.is_absolute() and place.exists()]
    # an index in a folder has its files beside it
    mounts = sorted({place.parent if place.name == "simple" else place for place in there})
    lines = [f"{name} = " + value.replace("\\n", "\n    ") for name, value in chosen.items()]
    return lines, mounts
