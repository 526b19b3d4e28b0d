"""The units run by a real systemd: reports arrive, rights are gone, what hangs is restarted."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from peers.systemd.machine import INSTALLED, PYTHON, SOURCES, Systemd, booted, lobar_of_the_tests
from support.lobar_process import wait_for
from support.system.programs import need_program
from support.systemd_units import (
    SETTINGS,
    STATE,
    make_account,
    surroundings,
    units,
    wait_until_ready,
    write,
)

from service.domain.part import PartName
from service.errors import EX_CONFIG

pytestmark = [pytest.mark.systemd, pytest.mark.dcmtk, pytest.mark.slow]

PASSWORD: Final = "of-this-test-alone"
RUN_PYTHON: Final = f"env LD_LIBRARY_PATH={PYTHON}/lib PYTHONPATH={SOURCES} {INSTALLED}/bin/python"
SAMPLES: Final = SOURCES / "service" / "demo" / "samples"
WHOLE: Final = f"""
state_dir = "{STATE}"
[spool]
reserve_bytes = 0
[bundle]
device = "cpu"
engine = "openvino"
[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = 4242
outputs = ["sr"]
outcomes = ["present", "absent", "indeterminate", "not_analysed"]
"""
PARTS: Final = f"""{WHOLE}
[redis]
url = "redis://127.0.0.1:6379/0"
password_file = "${{CREDENTIALS_DIRECTORY}}/lobar_redis"
"""
REDIS: Final = f"""
[Service]
ExecStart=/usr/bin/redis-server --port 6379 --requirepass {PASSWORD} --save ""
"""
PROPOSALS: Final = {"cr_monochrome1.dcm": "-xe", "sc_rle.dcm": "-xr"}  # transfer syntaxes
QUICK_WATCHDOG: Final = "[Service]\nWatchdogSec=5\n"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Systemd]:
    """A booted systemd with Lobar's units and account, and a PACS."""
    need_program("redis-server")
    tree, binds = lobar_of_the_tests()
    more = {
        "/etc/systemd/system/redis-server.service": REDIS,
        "/etc/systemd/system/lobar-relay.service.d/quick.conf": QUICK_WATCHDOG,
    }
    folder = tmp_path_factory.mktemp("systemd")
    with booted(folder, tree={**tree, **surroundings(), **units(), **more}, binds=binds) as systemd:
        make_account(systemd)
        with pacs(systemd):
            yield systemd


@contextmanager
def pacs(systemd: Systemd) -> Iterator[None]:
    (systemd.share / "received").mkdir()
    options = ("--aetitle", "PACS", "--accept-all", "--bit-preserving")
    receiver = systemd.command(need_program("storescp"), *options, "-od", "/share/received", "4242")
    with subprocess.Popen(receiver) as process:
        yield
        process.kill()


def send(systemd: Systemd, sample: str) -> Path:
    """Store a sample at the listener, and wait for its report."""
    before = set((systemd.share / "received").iterdir())
    store = (need_program("storescu"), PROPOSALS[sample], "-aec", "LOBAR")
    systemd.run(*store, "127.0.0.1", "11112", SAMPLES / sample)
    (report,) = wait_for(lambda: set((systemd.share / "received").iterdir()) - before)
    return Path(report)


def is_active(systemd: Systemd, unit: str) -> bool:
    return systemd.show(unit, "ActiveState") == "active"


def main_pid(systemd: Systemd, unit: str) -> str:
    return systemd.show(unit, "MainPID")


def test_the_whole_service_receives_and_reports_without_rights(machine: Systemd) -> None:
    write(machine, SETTINGS, WHOLE)
    machine.systemctl("start", "lobar.service")
    wait_until_ready(machine, RUN_PYTHON)

    assert send(machine, "cr_monochrome1.dcm").name.startswith("SR")

    pid = main_pid(machine, "lobar.service")
    status = dict(
        line.split(":\t", 1)
        for line in machine.run("cat", f"/proc/{pid}/status").stdout.splitlines()
        if ":\t" in line
    )
    assert {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert status["Uid"].split()[0] == machine.run("id", "-u", "lobar").stdout.strip()
    inside = ("nsenter", "--target", pid, "--mount")
    for path in ("/etc/lobar/x", "/usr/x", "/opt/lobar/x", "/boot/x", "/proc/sys/kernel/x"):
        done = machine.run(*inside, "touch", path, status=1)
        assert "Read-only file system" in done.stderr or "No such file" in done.stderr
    machine.run(*inside, "test", "-w", STATE)
    assert machine.run("stat", "-c", "%a %U", STATE).stdout.strip() == "700 lobar"

    machine.systemctl("stop", "lobar.service")
    assert machine.show("lobar.service", "Result") == "success"
    assert machine.show("lobar.service", "NRestarts") == "0"


def test_a_unit_for_each_part_with_a_password_among_the_credentials(machine: Systemd) -> None:
    write(machine, SETTINGS, PARTS)
    write(machine, "/etc/lobar/credentials/redis", PASSWORD, mode="600", group="root")
    machine.systemctl("start", "redis-server.service")
    machine.systemctl("start", "lobar.target")
    for part in PartName:
        wait_for(partial(is_active, machine, f"lobar-{part}.service"))
    wait_until_ready(machine, RUN_PYTHON)

    assert send(machine, "sc_rle.dcm").name.startswith("SR")

    machine.systemctl("start", "lobar.service")
    assert machine.show("lobar.target", "ActiveState") == "inactive", "instead of, not beside"
    assert not any(is_active(machine, f"lobar-{part}.service") for part in PartName)
    machine.systemctl("stop", "lobar.service")


def test_a_part_that_hangs_is_replaced(machine: Systemd) -> None:
    write(machine, SETTINGS, PARTS)
    write(machine, "/etc/lobar/credentials/redis", PASSWORD, mode="600", group="root")
    machine.systemctl("start", "redis-server.service", "lobar-relay.service")
    before = main_pid(machine, "lobar-relay.service")
    machine.run("kill", "-STOP", before)

    wait_for(lambda: int(machine.show("lobar-relay.service", "NRestarts")) >= 1)

    wait_for(partial(is_active, machine, "lobar-relay.service"))
    assert main_pid(machine, "lobar-relay.service") not in {before, "0"}
    machine.systemctl("stop", "lobar-relay.service")


def test_what_is_misconfigured_is_not_restarted(machine: Systemd) -> None:
    write(machine, SETTINGS, "[dicom]\nport = 'none'\n")
    machine.systemctl("start", "lobar-relay.service", status=1)
    assert machine.show("lobar-relay.service", "ExecMainStatus") == str(EX_CONFIG)
    assert machine.show("lobar-relay.service", "NRestarts") == "0"
    assert "dicom.port" in (machine.share / "lobar-relay.log").read_text()


def test_a_missing_credential_is_said_in_one_line(machine: Systemd) -> None:
    write(machine, SETTINGS, PARTS)
    machine.run("rm", "-f", "/etc/lobar/credentials/redis")
    machine.systemctl("start", "lobar-relay.service", status=1)
    log = (machine.share / "lobar-relay.log").read_text()
    assert "password_file" in log.splitlines()[-1]
