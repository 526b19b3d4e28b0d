"""The units of `deploy/systemd` on a booted systemd, with what they need around them."""

from pathlib import Path
from typing import Final

from peers.systemd.machine import REPOSITORY, Systemd

from support.lobar_process import SETTLE_SECONDS

UNITS: Final = REPOSITORY / "deploy" / "systemd"
SETTINGS: Final = "/etc/lobar/lobar.toml"
STATE: Final = Path("/var/lib/lobar")
# what a machine has reached before it starts a service: here at once, and nothing of the machine
REACHED: Final = ("sysinit.target", "basic.target", "network-online.target")
LOG: Final = "[Service]\nStandardOutput=append:/share/%N.log\nStandardError=inherit\n"


def surroundings() -> dict[str, str]:
    """Return the files of a machine that has booted, whose services write their logs to /share."""
    folder = "/etc/systemd/system"
    files = {f"{folder}/{name}": "[Unit]\nDefaultDependencies=no\n" for name in REACHED}
    return {**files, f"{folder}/service.d/log.conf": LOG}


def units() -> dict[str, str]:
    """Return the units, where an administrator installs them."""
    return {
        f"/usr/local/lib/systemd/system/{each.relative_to(UNITS)}": each.read_text()
        for each in sorted(UNITS.rglob("lobar*/*.conf")) + sorted(UNITS.glob("lobar*.*"))
        if each.is_file() and each.suffix in {".conf", ".service", ".target", ".timer"}
    }


def make_account(systemd: Systemd) -> None:
    """Make the account as sysusers.d(5) says it, and the folders of its settings."""
    systemd.run("groupadd", "--system", "lobar", status=None)
    systemd.run(
        *("useradd", "--system", "--gid", "lobar", "--home-dir", STATE, "--no-create-home"),
        *("--shell", "/usr/sbin/nologin", "lobar"),
    )
    systemd.run("install", "-d", "-m", "750", "-g", "lobar", "/etc/lobar")
    systemd.run("install", "-d", "-m", "700", "/etc/lobar/credentials")


def write(
    systemd: Systemd, path: str, text: str, *, mode: str = "640", group: str = "lobar"
) -> None:
    """Write a file there."""
    (systemd.share / "written").write_text(text)
    systemd.run("install", "-D", "-m", mode, "-g", group, "/share/written", path)


def wait_until_ready(systemd: Systemd, python: str) -> None:
    """Wait until the service on this machine is ready."""
    program = (
        "import time; from pathlib import Path; from service.health_check import ask\n"
        f"while ask(Path('{STATE}/health.sock'))[0]: time.sleep(0.2)"
    )
    systemd.run(*python.split(), "-P", "-c", program, seconds=SETTLE_SECONDS)
