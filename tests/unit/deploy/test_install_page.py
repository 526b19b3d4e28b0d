"""The pages for administrators say what the scripts, units and manifests do."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
DEPLOY: Final = ROOT / "deploy"
INSTALL: Final = (ROOT / "docs" / "install.md").read_text()
KUBERNETES: Final = (ROOT / "docs" / "kubernetes.md").read_text()
SCRIPTS: Final = {each.name: each.read_text() for each in (DEPLOY / "offline").glob("*.sh")}


def test_every_example_of_a_drop_in_is_listed() -> None:
    examples = {each.name for each in (DEPLOY / "systemd" / "examples").iterdir()}
    assert set(re.findall(r"^\| `([a-z-]+\.conf)` \|", INSTALL, re.MULTILINE)) == examples


def test_every_unit_is_named() -> None:
    for each in (DEPLOY / "systemd").glob("lobar*.*"):
        if each.suffix in {".service", ".target", ".timer"}:
            assert re.search(rf"`{each.stem}(?:{each.suffix})?`", INSTALL), each.name


def test_the_folders_of_the_page_are_those_of_the_scripts() -> None:
    written = SCRIPTS["install.sh"]
    for path in ("/opt/lobar", "/usr/local/bin/lobar", "/usr/local/lib/systemd/system"):
        assert path in INSTALL
        assert path in written
        assert path in SCRIPTS["uninstall.sh"]
    for path in ("/etc/lobar", "/var/lib/lobar", "/var/backups/lobar-before-"):
        assert path in INSTALL
        assert path in written
    assert re.findall(r"--[a-z-]+", written.split("set -euo")[0]) == ["--no-backup"]
    assert "`--no-backup`" in INSTALL
    assert "`--purge`" in INSTALL


def test_settings_and_credentials_are_where_units_and_scripts_agree() -> None:
    account = (DEPLOY / "systemd" / "lobar-.service.d" / "10-account.conf").read_text()
    for line in (
        "LoadCredential=lobar:/etc/lobar/credentials",
        "LOBAR_CONFIG=/etc/lobar/lobar.toml",
    ):
        assert line in account
        assert line in SCRIPTS["lobar.sh"]
    assert "${CREDENTIALS_DIRECTORY}/lobar_NAME" in INSTALL


def test_every_overlay_is_described() -> None:
    overlays = {each.name for each in (DEPLOY / "kubernetes" / "overlays").iterdir()}
    assert set(re.findall(r"^\| `overlays/([a-z-]+)` \|", KUBERNETES, re.MULTILINE)) == overlays


def test_the_secrets_of_the_page_are_those_that_pods_mount() -> None:
    pod = (DEPLOY / "kubernetes" / "base" / "pod.yaml").read_text()
    (command,) = re.findall("create secret generic lobar (.*)", KUBERNETES)
    keys = re.findall("--from-file=([a-z-]+)", command)
    assert keys == re.findall(r"key: ([a-z-]+)", pod)
