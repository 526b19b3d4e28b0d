"""System programs that tests run; a missing one skips the test, or fails it under CI."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import pytest

DEBIAN_PACKAGES: Final = {
    "DicomSRValidator": "pixelmed-apps",
    "Orthanc": "orthanc",
    "amtool": "prometheus-alertmanager",
    "buildah": "buildah",
    "chromium": "chromium",
    "curl": "curl",
    "dciodvfy": "dicom3tools",
    "dcm2pdf": "dcmtk",
    "dcmcjpeg": "dcmtk",
    "dcmdjpeg": "dcmtk",
    "dcmdump": "dcmtk",
    "dcmqrscp": "dcmtk",
    "dcmp2pgm": "dcmtk",
    "dcmpschk": "dcmtk",
    "dsrdump": "dcmtk",
    "echoscu": "dcmtk",
    "findscu": "dcmtk",
    "fusermount3": "fuse3",
    "gcc": "gcc",
    "getscu": "dcmtk",
    "initdb": "postgresql",
    "ip": "iproute2",
    "java": "default-jre-headless",
    "jing": "jing",
    "mmdebstrap": "mmdebstrap",
    "movescu": "dcmtk",
    "nginx": "nginx-light",
    "node": "nodejs",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "postgres": "postgresql",
    "prlimit": "util-linux",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "promtool": "prometheus",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "rsyslogd": "rsyslog",
    "setpriv": "util-linux",
    "storescp": "dcmtk",
    "storescu": "dcmtk",
    "systemctl": "systemd",
    "systemd-analyze": "systemd",
    "unshare": "util-linux",
}
# not on the PATH of an ordinary user
OUTSIDE_PATH: Final = ("/usr/sbin", "/sbin", "/usr/local/sbin")


def find_program(name: str) -> Path | None:
    """Return the path of a program on PATH or in the folders where Debian installs it, or None.

    Of several PostgreSQL versions the newest is used. The virtual environment's folder is
    excluded, because the `storescu` there is pynetdicom's, not DCMTK's.
    """
    postgresql = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda folder: int(folder.parent.name) if folder.parent.name.isdigit() else 0,
        reverse=True,
    )
    own = Path(sys.executable).parent
    on_path = [each for each in os.get_exec_path() if Path(each).absolute() != own]
    folders = [*on_path, os.defpath, *OUTSIDE_PATH, *map(str, postgresql)]
    found = shutil.which(name, path=os.pathsep.join(folders))
    return Path(found).absolute() if found else None


def need_program(name: str) -> Path:
    """Return a program's path; if it is missing, skip the test, or fail it when CI=true."""
    found = find_program(name)
    if found is None:
        package = DEBIAN_PACKAGES.get(name, "unknown")
        missing(f"no {name} on this machine: install the Debian package {package}")
    return found


def missing(what: str) -> NoReturn:
    """Skip the test because the machine lacks something; fail it instead when CI=true."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:  # noqa: TID251 -- CI's own variable
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def program() -> Callable[[str], Path]:
    """`program("storescu")` is the program's path; see `need_program` for a missing one."""
    return need_program
