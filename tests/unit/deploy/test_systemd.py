"""The systemd units are valid, harden what they run, and agree with the settings' defaults."""

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
from support.system.programs import need_program

from service.domain.part import PartName
from service.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[3]
UNITS: Final = ROOT / "deploy" / "systemd"
SERVICES: Final = sorted(each.name for each in UNITS.glob("*.service"))
EXAMPLES: Final = sorted(each.name for each in (UNITS / "examples").glob("*.conf"))
MOST_EXPOSED: Final = "25"  # of 100: systemd's own 2.5
LONG_RUNNING: Final = [name for name in SERVICES if name != "lobar-backup.service"]


def read(unit: str) -> dict[str, str]:
    """Read the assignments of a unit; of several to one name the last."""
    lines = (UNITS / unit).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A root with the units and a program where they look for it."""
    systemd = tmp_path / "etc" / "systemd" / "system"
    systemd.mkdir(parents=True)
    for each in UNITS.glob("lobar*"):
        copy(each, systemd / each.name)
    program = tmp_path / "opt" / "lobar" / "current" / "bin" / "lobar"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return tmp_path


def copy(source: Path, to: Path) -> None:
    if source.is_dir():
        to.mkdir()
        for each in source.iterdir():
            copy(each, to / each.name)
    else:
        to.write_bytes(source.read_bytes())


def analyze(machine: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze on the units of a machine that does not run."""
    program = need_program("systemd-analyze")
    return subprocess.run(
        [program, *words],
        env={
            "SYSTEMD_UNIT_PATH": f"{machine}/etc/systemd/system:/usr/lib/systemd/system",
            "SYSTEMD_COLORS": "0",
            "PATH": "/usr/bin:/bin",
        },
        check=False,
        capture_output=True,
        text=True,
    )


@pytest.mark.systemd
def test_systemd_finds_no_fault_in_any_unit(machine: Path) -> None:
    systemd = machine / "etc" / "systemd" / "system"
    for unit in systemd.glob("*.service"):  # systemd-analyze looks for programs on this machine
        text = unit.read_text()
        unit.write_text(text.replace("ExecStart=/opt", f"ExecStart={machine}/opt"))
    units = [
        *systemd.glob("lobar*.service"),
        systemd / "lobar.target",
        systemd / "lobar-backup.timer",
    ]
    done = analyze(machine, "verify", "--man=no", *map(str, units))
    said = [line for line in done.stderr.splitlines() if "lobar" in line]
    assert (done.returncode, said) == (0, [])


@pytest.mark.systemd
def test_systemd_does_find_a_fault(machine: Path) -> None:
    unit = machine / "etc" / "systemd" / "system" / "lobar.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=60", "WatchdogSeconds=60"))
    done = analyze(machine, "verify", "--man=no", str(unit))
    assert "WatchdogSeconds" in done.stderr


@pytest.mark.systemd
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_exposed_no_more_than_is_promised(machine: Path, service: str) -> None:
    unit = str(machine / "etc" / "systemd" / "system" / service)
    words = ("security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", unit)
    done = analyze(machine, *words)
    assert done.returncode == 0, done.stdout
    assert "Overall exposure level" in done.stdout


@pytest.mark.systemd
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_valid_and_keeps_the_promise(machine: Path, example: str) -> None:
    systemd = machine / "etc" / "systemd" / "system"
    copy(UNITS / "examples" / example, systemd / "lobar.service.d" / example)
    unit = str(systemd / "lobar.service")
    words = ("security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", unit)
    done = analyze(machine, *words)
    assert done.returncode == 0, done.stdout
    assert "ignoring" not in done.stderr


@pytest.mark.systemd
def test_without_its_hardening_a_service_would_be_exposed(machine: Path) -> None:
    systemd = machine / "etc" / "systemd" / "system"
    (systemd / "lobar.service.d" / "20-hardening.conf").unlink()
    words = ("security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}")
    assert analyze(machine, *words, str(systemd / "lobar.service")).returncode != 0


def test_the_whole_service_and_its_parts_have_the_same_drop_ins() -> None:
    parts, whole = UNITS / "lobar-.service.d", UNITS / "lobar.service.d"
    assert {each.name for each in parts.iterdir()} == {"10-account.conf", "20-hardening.conf"}
    for each in parts.iterdir():
        assert (whole / each.name).read_text() == each.read_text()


def test_the_target_wants_a_unit_for_each_part_that_exists() -> None:
    text = (UNITS / "lobar.target").read_text()
    wanted = re.search("^Wants=(.*)$", text, re.MULTILINE)
    assert wanted is not None
    assert set(wanted[1].split()) == {f"lobar-{part}.service" for part in PartName}
    for unit in wanted[1].split():
        words = read(unit)["ExecStart"].split()
        assert words[-1] == unit.removeprefix("lobar-").removesuffix(".service")


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_a_service_is_watched_and_not_restarted_when_it_is_misconfigured(service: str) -> None:
    unit = read(service)
    assert (unit["Type"], unit["NotifyAccess"], unit["WatchdogSec"]) == ("notify", "main", "60")
    assert (unit["Restart"], unit["RestartPreventExitStatus"]) == ("on-failure", "78")


def test_times_leave_room_for_the_defaults_of_the_settings() -> None:
    settings = Settings()
    account = read("lobar-.service.d/10-account.conf")
    assert int(account["TimeoutStopSec"]) > settings.drain_seconds
    assert int(account["TimeoutStartSec"]) > settings.start_seconds
    needed = settings.dicom.maximum_connections + 4 * settings.dicom.maximum_associations + 200
    assert int(account["LimitNOFILE"]) > needed


def test_what_ends_first_without_memory_is_as_under_lobar_up() -> None:
    scores = {part: int(read(f"lobar-{part}.service")["OOMScoreAdjust"]) for part in PartName}
    in_order = sorted(scores, key=lambda part: -scores[part])
    assert in_order == ["infer", "web", "deliver", "relay", "listener"]
