"""`deploy/setup/peers.sh` installs what tests need where it may, and starts nothing."""

import pytest
from support.system.machine import Machine

SCRIPT = "deploy/setup/peers.sh"
POLICY = "usr/sbin/policy-rc.d"
PEERS = {
    "usr/sbin/Orthanc": "orthanc",
    "usr/share/orthanc/plugins/libOrthancDicomWeb.so": "orthanc-dicomweb",
    "usr/bin/chromium": "chromium",
    "usr/bin/npm": "npm",
    "usr/bin/node": "nodejs",
    "usr/bin/storescu": "dcmtk",
    "usr/sbin/ip": "iproute2",
    "usr/sbin/nginx": "nginx-light",
    "usr/bin/buildah": "buildah",
    "usr/bin/mmdebstrap": "mmdebstrap",
    "usr/bin/gcc": "gcc",
    "usr/include/stdio.h": "libc6-dev",
    "usr/bin/openssl": "openssl",
    "usr/bin/redis-server": "redis-server",
    "usr/lib/postgresql/15/bin/initdb": "postgresql",
    "usr/bin/dciodvfy": "dicom3tools",
    "usr/bin/DicomSRValidator": "pixelmed-apps",
    "usr/bin/java": "default-jre-headless",
    "usr/bin/promtool": "prometheus",
    "usr/bin/amtool": "prometheus-alertmanager",
    "usr/sbin/rsyslogd": "rsyslog",
    "usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_ossl.so": "rsyslog-openssl",
    "usr/bin/systemd-analyze": "systemd",
    "usr/bin/fusermount3": "fuse3",
    "usr/bin/jing": "jing",
    "usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1": "libfaketime",
}
NOTING_APT = """
policy="$MACHINE/usr/sbin/policy-rc.d"
if [ -x "$policy" ]; then "$policy"; answer=$?; fi
echo "$* (services: ${answer:-as they like}, asking: ${DEBIAN_FRONTEND:-yes})" >>"$NOTES"
"""


@pytest.fixture
def debian(machine: Machine) -> Machine:
    """A machine with an apt-get that takes notes and knows every package."""
    machine.add("bin/apt-get", NOTING_APT)
    machine.add("bin/apt-cache")
    (machine.folder / "usr/sbin").mkdir(parents=True)
    return machine


def test_nothing_happens_where_every_program_is_there(debian: Machine) -> None:
    for path in PEERS:
        debian.add(path)

    done = debian.run(SCRIPT)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert debian.notes() == []


def test_root_installs_every_missing_package_and_no_service_may_start(debian: Machine) -> None:
    done = debian.run(SCRIPT)

    assert done.returncode == 0, done.stderr
    update, install = debian.notes()
    assert " update " in update
    assert "install --no-install-recommends" in install
    assert set(PEERS.values()) <= set(install.split())
    assert install.endswith("(services: 101, asking: noninteractive)")
    assert not (debian.folder / POLICY).exists()


def test_only_what_is_missing_is_installed(debian: Machine) -> None:
    for path in PEERS:
        if "storescu" not in path:
            debian.add(path)

    debian.run(SCRIPT)

    install = debian.notes()[-1]
    assert set(PEERS.values()) & set(install.split()) == {"dcmtk"}


def test_only_the_packages_that_are_named_are_installed(debian: Machine) -> None:
    debian.add("usr/bin/npm")

    debian.run(SCRIPT, "orthanc", "npm")

    install = debian.notes()[-1]
    assert set(PEERS.values()) & set(install.split()) == {"orthanc"}


def test_a_package_this_distribution_lacks_does_not_keep_the_others_away(debian: Machine) -> None:
    debian.add("bin/apt-cache", '[ "$2" != pixelmed-apps ]')

    done = debian.run(SCRIPT)

    install = debian.notes()[-1]
    assert set(PEERS.values()) - set(install.split()) == {"pixelmed-apps"}
    assert "no DicomSRValidator" in done.stdout


def test_a_policy_that_is_there_already_is_left_as_it_is(debian: Machine) -> None:
    policy = debian.add(POLICY, "exit 104")
    before = policy.read_text()

    debian.run(SCRIPT)

    assert debian.notes()[-1].endswith("(services: 104, asking: noninteractive)")
    assert policy.read_text() == before


def test_a_failing_apt_is_told_in_a_line_and_leaves_no_policy_behind(debian: Machine) -> None:
    debian.add("bin/apt-get", "echo 'Temporary failure resolving' >&2; exit 100")

    done = debian.run(SCRIPT)

    assert done.returncode == 0
    assert "apt could not install them" in done.stderr
    assert "no storescu, so not tested: storing to and from DCMTK" in done.stdout
    assert not (debian.folder / POLICY).exists()


def test_a_user_without_sudo_is_told_what_is_skipped_and_how_to_install_it(
    debian: Machine,
) -> None:
    debian.become_user()

    done = debian.run(SCRIPT)

    assert done.returncode == 0
    assert debian.notes() == []
    *skipped, command = done.stdout.splitlines()
    assert len(skipped) == len(PEERS)
    assert all("so not tested: " in line for line in skipped)
    assert "sudo apt-get install --no-install-recommends" in command
    assert set(PEERS.values()) <= set(command.split())


def test_a_machine_without_apt_is_told_what_is_skipped(debian: Machine) -> None:
    (debian.folder / "bin/apt-get").unlink()

    done = debian.run(SCRIPT)

    assert done.returncode == 0
    assert "no Orthanc, so not tested: storing reports in a real PACS" in done.stdout


def test_the_environment_s_own_storescu_is_not_taken_for_dcmtk_s(debian: Machine) -> None:
    for path in PEERS:
        debian.add(path)
    (debian.folder / "usr/bin/storescu").unlink()
    debian.add("project/.venv/bin/storescu")

    debian.run(SCRIPT)

    assert "dcmtk" in debian.notes()[-1].split()
