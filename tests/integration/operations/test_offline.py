"""The package for hosts without a network installs, upgrades and removes what it should.

The commands are those of docs/install.md. A stand-in takes the place of Lobar's wheel, since the
scripts do not know what they install. With `--full` the package is the real one, on a Debian that
has Python and nothing else of Lobar's.
"""

import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from peers.systemd.machine import Systemd, booted
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from support.lobar_process import wait_for
from support.offline_package import build, python_of_package, stand_in_wheels
from support.system.programs import find_program, need_program
from support.systemd_units import surroundings

pytestmark = [pytest.mark.systemd, pytest.mark.slow]

CURRENT: Final = "/opt/lobar/current"
UNITS: Final = "/usr/local/lib/systemd/system"
BACKUP: Final = "/var/backups/lobar-before-2.0"


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of two versions, unpacked."""
    folder = tmp_path_factory.mktemp("packages")
    for version in ("1.0", "2.0"):
        wheels = stand_in_wheels(folder / f"wheels-{version}", version)
        with tarfile.open(build(folder / "tars", wheels)) as tar:
            (top,) = {each.name.split("/")[0] for each in tar.getmembers()}
            tar.extractall(folder, filter="data")
        (folder / top).rename(folder / version)
    return folder


@pytest.fixture
def machine(tmp_path: Path, packages: Path) -> Iterator[Systemd]:
    """A booted systemd on which nothing of Lobar is installed, with the packages in /packages."""
    if find_program(python_of_package()) is None:
        pytest.skip(f"no {python_of_package()} of the system, which the package is for")
    binds = [(packages, Path("/packages"))]
    with booted(tmp_path, tree=surroundings(), binds=binds) as systemd:
        systemd.systemctl("start", "dbus.socket")
        yield systemd


def install(machine: Systemd, version: str, *words: str, status: int = 0) -> str:
    done = machine.run(f"/packages/{version}/install.sh", *words, status=status)
    return done.stdout + done.stderr


def installed(machine: Systemd) -> str:
    return Path(machine.run("readlink", CURRENT).stdout.strip()).name


def modes(machine: Systemd, *paths: str) -> list[str]:
    return machine.run("stat", "-c", "%a %U:%G", *paths).stdout.splitlines()


def ran(machine: Systemd) -> list[str]:
    return machine.run("cat", "/var/lib/lobar/ran").stdout.split()


def test_the_life_of_an_installation(machine: Systemd) -> None:
    said = install(machine, "1.0")

    # a first installation starts nothing, and keeps secrets from other accounts
    assert "systemctl enable --now lobar.service" in said
    assert machine.show("lobar.service", "ActiveState") == "inactive"
    assert machine.show("lobar.service", "LoadState") == "loaded"
    assert installed(machine) == "1.0"
    kept = ("/etc/lobar", "/etc/lobar/credentials", "/etc/lobar/lobar.toml", "/var/lib/lobar")
    assert modes(machine, *kept) == [
        *("750 root:lobar", "700 root:root", "640 root:lobar", "700 lobar:lobar"),
    ]
    machine.run("sh", "-c", "echo secret >/etc/lobar/credentials/redis")
    machine.run("chmod", "700", "/root")
    words = machine.run("sh", "-c", "cd /root && lobar whoami").stdout.split()
    account = machine.run("id", "-u", "lobar").stdout.strip()
    assert words == ["1.0", account, "/etc/lobar/lobar.toml", "lobar_redis"]
    machine.run("lobar", "nonsense", status=1)

    # an upgrade that cannot be backed up changes nothing
    machine.run("sh", "-c", "echo '# ours' >>/etc/lobar/lobar.toml")
    machine.systemctl("enable", "--now", "lobar.service")
    machine.run("install", "-D", "/dev/null", f"{BACKUP}/of-others")
    assert "nothing was changed" in install(machine, "2.0", status=1)
    assert installed(machine) == "1.0"
    assert machine.show("lobar.service", "ActiveState") == "active"

    # one that can starts the new version with the old settings
    machine.run("rm", f"{BACKUP}/of-others")
    install(machine, "2.0")
    assert installed(machine) == "2.0"
    wait_for(lambda: ran(machine) == ["1.0", "1.0", "2.0"])
    assert machine.show("lobar.service", "ActiveState") == "active"
    assert machine.run("cat", f"{BACKUP}/ran").stdout.split() == ["1.0", "1.0"]
    assert machine.run("tail", "-n", "1", "/etc/lobar/lobar.toml").stdout == "# ours\n"
    machine.run("test", "-x", "/opt/lobar/1.0/bin/lobar")

    # removing keeps patient data
    machine.run(f"{CURRENT}/share/lobar/uninstall.sh")
    assert machine.show("lobar.service", "LoadState") == "not-found"
    for path in ("/opt/lobar", "/usr/local/bin/lobar", f"{UNITS}/lobar.target"):
        machine.run("test", "!", "-e", path)
    assert ran(machine)[-1] == "2.0"
    machine.run("test", "-e", "/etc/lobar/lobar.toml")

    # unless it is to be purged
    machine.run("/packages/2.0/uninstall.sh", "--purge")
    for path in ("/etc/lobar", "/var/lib/lobar"):
        machine.run("test", "!", "-e", path)
    machine.run("getent", "passwd", "lobar", status=2)


def test_a_package_that_is_not_as_listed_is_refused(machine: Systemd, packages: Path) -> None:
    as_nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    machine.run("install", "-m", "755", "/packages/1.0/install.sh", "/usr/local/install.sh")
    done = machine.run(*as_nobody, "/usr/local/install.sh", status=77)
    assert done.stderr == "install: run it as root\n"
    assert "not understood" in install(machine, "1.0", "--now", status=2)

    damaged = machine.share / "damaged"
    shutil.copytree(packages / "1.0", damaged)
    wheel = damaged / "wheels" / "lobar-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:-1] + b"x")
    done = machine.run("/share/damaged/install.sh", status=1)
    assert "the package is damaged" in done.stderr
    machine.run("test", "!", "-e", "/opt/lobar")
    machine.run("getent", "passwd", "lobar", status=2)

    changed = machine.share / "changed"
    shutil.copytree(packages / "1.0", changed)
    change_a_hash(changed)
    done = machine.run("/share/changed/install.sh", status=1)
    assert "pip could not install" in done.stderr
    machine.run("test", "!", "-e", CURRENT)
    machine.run("getent", "passwd", "lobar", status=2)


def change_a_hash(package: Path) -> None:
    """Write another hash for a wheel into a package whose own sums are right."""
    requirements, sums = package / "requirements.txt", package / "SHA256SUMS"
    wrong = requirements.read_text().split("sha256:")[0] + "sha256:" + "0" * 64 + "\n"
    requirements.write_text(wrong)
    new = hashlib.sha256(wrong.encode()).hexdigest()
    lines = [
        f"{new}  ./requirements.txt" if line.endswith("/requirements.txt") else line
        for line in sums.read_text().splitlines()
    ]
    sums.write_text("\n".join(lines) + "\n")


def test_the_same_wheels_make_the_same_package(packages: Path, tmp_path: Path) -> None:
    (first,) = (packages / "tars").glob("lobar-1.0-*.tar")
    again = build(tmp_path / "again", packages / "wheels-1.0")
    assert again.read_bytes() == first.read_bytes()
    digest, name = (again.parent / f"{again.name}.sha256").read_text().split()
    assert (digest, name) == (hashlib.sha256(first.read_bytes()).hexdigest(), again.name)


PACS: Final = """
state_dir = "/var/lib/lobar"
[spool]
reserve_bytes = 0
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 4242
outputs = ["sr"]
outcomes = ["present", "absent", "indeterminate", "not_analysed"]
"""


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_the_real_package_works_on_a_bare_debian_without_a_network(tmp_path: Path) -> None:
    root = bare_debian(tmp_path)
    package = build(tmp_path / "package")
    (tmp_path / "machine").mkdir()
    with booted(
        tmp_path / "machine",
        root=root,
        tree=surroundings(),
        binds=[(package.parent, Path("/package"))],
    ) as machine:
        interfaces = machine.run("ls", "/sys/class/net").stdout.split()
        assert interfaces == ["lo"]
        machine.systemctl("start", "dbus.socket")
        machine.run("sh", "-c", "cd /root && tar -xf /package/*.tar && mv lobar-* lobar")
        machine.run("/root/lobar/install.sh", seconds=600)
        (machine.share / "lobar.toml").write_text(PACS)
        machine.run("install", "-m", "640", "-g", "lobar", "/share/lobar.toml", "/etc/lobar")
        machine.run("lobar", "check", status=1)  # the PACS is not there yet
        assert received_by_a_pacs(machine).Modality == "SR"
        machine.run(f"{CURRENT}/share/lobar/uninstall.sh", "--purge")
        machine.run("test", "!", "-e", "/var/lib/lobar")


def received_by_a_pacs(machine: Systemd) -> Dataset:
    """Start a PACS and the service, store a sample of the package, and return the report."""
    (machine.share / "received").mkdir()
    python = f"{CURRENT}/bin/python"
    pacs = machine.command(python, "-m", "pynetdicom", "storescp", "4242", "-od", "/share/received")
    sample = (
        f"{CURRENT}/lib/{python_of_package()}/site-packages/service/demo/samples/cr_monochrome1.dcm"
    )
    store = (python, "-m", "pynetdicom", "storescu", "127.0.0.1", "11112", sample, "-aec", "LOBAR")
    with subprocess.Popen(pacs) as receiver:
        machine.systemctl("start", "lobar.service")
        wait_for(lambda: machine.run("lobar", "health", status=None).returncode == 0)
        machine.run(*store)
        report: Dataset = wait_for(lambda: first_whole(machine.share / "received"))
        receiver.kill()
    return report


def first_whole(folder: Path) -> Dataset | None:
    """Return what a PACS keeps in a folder; None as long as it is not there and written."""
    for file in folder.iterdir():
        with suppress(InvalidDicomError, AttributeError):
            dataset = dcmread(file)
            if "ContentSequence" in dataset:
                return dataset
    return None


def bare_debian(folder: Path) -> Path:
    """Make the root of a Debian 12 with Python and systemd, from this machine's sources."""
    sources = [Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")]
    root = folder / "debian"
    command = ["--variant=minbase", "--include=python3,systemd,dbus", "bookworm"]
    done = subprocess.run(
        [need_program("mmdebstrap"), *command, root, *(each for each in sources if each.exists())],
        check=False,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return root
