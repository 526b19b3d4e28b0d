"""Packages for hosts without a network, built by `deploy/offline/build.sh`."""

import ensurepip
import os
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import Final

from peers.systemd.machine import REPOSITORY

from support.system.programs import missing

BUILD: Final = REPOSITORY / "deploy" / "offline" / "build.sh"
# A stand-in for the service: a version that says READY=1 and keeps a file, with a backup.
STAND_IN: Final = """
    import os, pathlib, socket, sys, time

    VERSION = "{version}"
    STATE = pathlib.Path("/var/lib/lobar")

    def notify(message):
        address = os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(message, address)

    def up():
        (STATE / "ran").open("a").write(VERSION + "\\n")
        while True:
            notify(b"READY=1\\nWATCHDOG=1")
            time.sleep(1)

    def main():
        match sys.argv[1:]:
            case ["up"]:
                up()
            case ["backup", folder]:
                folder = pathlib.Path(folder)
                if any(folder.iterdir()):
                    sys.exit("it is not empty")
                (folder / "ran").write_text((STATE / "ran").read_text())
            case ["whoami"]:
                credentials = pathlib.Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nowhere"))
                kept = sorted(each.name for each in credentials.glob("*"))
                print(VERSION, os.getuid(), os.environ["LOBAR_CONFIG"], *kept)
            case ["--help"]:
                print("a stand-in")
            case _:
                sys.exit("not understood")
"""


def stand_in_wheels(folder: Path, version: str) -> Path:
    """Make a folder with pip's wheel and one that stands in for Lobar's."""
    folder.mkdir()
    pip = pip_wheel()
    (folder / pip.name).write_bytes(pip.read_bytes())
    info = f"lobar-{version}.dist-info"
    files = {
        "lobar_stand_in.py": textwrap.dedent(STAND_IN.format(version=version)),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: lobar\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        f"{info}/entry_points.txt": "[console_scripts]\nlobar = lobar_stand_in:main\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"lobar-{version}-py3-none-any.whl", "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(zipfile.ZipInfo(name), text)
    return folder


def pip_wheel() -> Path:
    """Return pip's wheel, which Python brings, or Debian's package python3-pip-whl."""
    bundled = Path(ensurepip.__file__).with_name("_bundled")
    found = [*bundled.glob("pip-*.whl"), *Path("/usr/share/python-wheels").glob("pip-*.whl")]
    if not found:
        missing("no wheel of pip on this machine: install the Debian package python3-pip-whl")
    return found[0]


def build(out: Path, wheels: Path | None = None) -> Path:
    """Build a package, of these wheels or of those that pip fetches, and return its tar."""
    own = {"OUT": str(out)} if wheels is None else {"OUT": str(out), "WHEELS": str(wheels)}
    done = subprocess.run(
        ["bash", BUILD],
        env={**os.environ, **own},  # noqa: TID251 -- pip's own configuration is in it
        check=False,
        capture_output=True,
        text=True,
        timeout=540,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(done.stdout.strip().splitlines()[-1].removeprefix("==> "))


def python_of_package() -> str:
    """Return the name of the Python that a package built here is for."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"
