"""The image `cpu`, built here, and the service run from its files as an engine would run it.

The target `cuda` differs in the build of torch, several gigabytes, and is not built here. What it
would ask pip for is tested in tests/unit/deploy/test_containerfile.py.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from pydicom import dcmread
from support.containers.built_image import BuiltImage
from support.containers.composition import Composition
from support.containers.container import (
    ROOT,
    Container,
    require_right_to_contain,
    wait_until_healthy,
)
from support.containers.network import Network
from support.lobar_process import wait_for
from support.system.programs import need_program

from service.dicom.implementation import VERSION

pytestmark = [pytest.mark.containers, pytest.mark.full, pytest.mark.timeout(3600)]

SAMPLE: Final = ROOT / "service" / "demo" / "samples" / "dx_jpeg2000.dcm"
PACS: Final = "pacs"
PACS_PORT: Final = 11113


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BuiltImage]:
    require_right_to_contain()
    image = BuiltImage(tmp_path_factory.mktemp("image"))
    try:
        image.build("cpu")
        yield image
    finally:
        image.close()


@pytest.fixture(scope="module")
def rootfs(built: BuiltImage) -> Path:
    return built.rootfs()


class Service:
    """The profile small on a network with a PACS, which is DCMTK's storescp."""

    def __init__(self, folder: Path, built: BuiltImage, rootfs: Path) -> None:
        composition = Composition("small")
        outside = composition.subnets["outside"]
        self.received = folder / "received"
        self.received.mkdir()
        self.network = Network(f"image{os.getpid()}", {"outside": outside})
        self.network.add("lobar", {"outside": outside[2]})
        self.network.add(PACS, {"outside": outside[3]})
        self.network.make()
        volume = folder / "volumes" / "lobar"
        volume.mkdir(parents=True)
        volume.chmod(0o700)
        os.chown(volume, 10001, 10001)
        plan = composition.plan("lobar", folder, {"lobar": built.image()}, {})
        pacs = {"name": PACS, "ae_title": "PACS", "host": str(outside[3]), "port": PACS_PORT}
        settings = {"LOBAR_DESTINATIONS": json.dumps([pacs])}
        plan = replace(plan, environment={**plan.environment, **settings})
        self.container = Container(folder, plan, root=rootfs, enter=self.network.command("lobar"))
        self.health_check = composition.health_check("lobar") or []
        self._pacs = subprocess.Popen(
            [
                *(
                    *self.network.command(PACS),
                    str(need_program("storescp")),
                    "+xa",
                    "-aet",
                    "PACS",
                ),
                *("--output-directory", str(self.received), str(PACS_PORT)),
            ]
        )

    def store(self, file: Path) -> subprocess.CompletedProcess[str]:
        """Store a file to the service, from where the PACS is."""
        address = self.network.address("lobar", "outside")
        return subprocess.run(
            [
                *(
                    *self.network.command(PACS),
                    str(need_program("storescu")),
                    "-xv",
                    "-aec",
                    "LOBAR",
                ),
                *(address, "11112", str(file)),
            ],
            check=False,
            capture_output=True,
            text=True,
        )

    def modalities(self) -> set[str]:
        """Return the modalities of what the PACS has received."""
        files = self.received.iterdir()  # one of which may still be written
        return {str(dcmread(file, force=True).get("Modality")) for file in files}

    def close(self) -> None:
        """End all of it."""
        self.container.kill()
        self._pacs.kill()
        self._pacs.wait()
        self.network.close()


@pytest.fixture(scope="module")
def service(
    built: BuiltImage, rootfs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    started = Service(tmp_path_factory.mktemp("service"), built, rootfs)
    try:
        started.container.start()
        wait_until_healthy(started.container, started.health_check, 300)
        yield started
    finally:
        started.close()


def test_the_image_says_what_it_is_and_how_it_is_run(built: BuiltImage) -> None:
    config = built.described()
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"][-1] == "lobar"
    assert config["Cmd"] == ["up"]
    assert config["Healthcheck"]["Test"][:5] == [
        "CMD",
        "python",
        "-P",
        "-m",
        "service.health_check",
    ]
    assert set(config["ExposedPorts"]) == {"11112/tcp", "8080/tcp"}
    labels = config["Labels"]
    assert labels["org.opencontainers.image.version"] == VERSION
    assert len(labels["org.opencontainers.image.revision"]) == 40
    assert Path(labels["lobar.sbom"]).name == "lobar.cdx.json"


def test_the_bill_of_materials_in_it_is_valid_and_names_what_is_there(rootfs: Path) -> None:
    text = (rootfs / "opt/lobar/share/lobar/lobar.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill: dict[str, Any] = json.loads(text)
    names = {each["name"] for each in bill["components"]}
    assert {"lobar_pneumonia", "torch", "openvino", "pynetdicom", "libc6", "python3.11"} <= names
    assert not names & {"pip", "pytest", "mypy", "hypothesis", "playwright"}
    packages = rootfs / "opt/lobar/lib/python3.11/site-packages"
    there = {each.name.partition("-")[0].lower() for each in packages.glob("*.dist-info")}
    python = [each for each in bill["components"] if each.get("purl", "").startswith("pkg:pypi")]
    assert len(python) + 1 == len(there), "and lobar itself"


def test_nothing_of_where_it_was_built_is_in_it(rootfs: Path) -> None:
    assert not (rootfs / "etc/pip.conf").exists()
    assert not (rootfs / "build").exists()
    assert not list((rootfs / "var/lib/apt/lists").glob("*Packages*"))
    state = (rootfs / "var/lib/lobar").stat()
    assert (state.st_uid, state.st_mode & 0o777) == (10001, 0o700)


def test_an_instance_becomes_a_report_in_the_pacs(service: Service) -> None:
    sent = service.store(SAMPLE)
    assert sent.returncode == 0, f"{sent.stderr}\n{service.container.log_tail()}"
    wait_for(lambda: {"SR", "OT"} <= service.modalities(), 300)
    status = json.loads(service.container.run("lobar", "status", "--json").stdout)
    assert status["balance"] == 0


def test_it_has_no_rights_and_a_root_that_cannot_be_written(service: Service) -> None:
    container = service.container
    assert container.run("id", "-u").stdout.strip() == "10001"
    assert container.run("touch", "/opt/lobar/x").returncode != 0
    rights = container.run("grep", "-E", "^(CapBnd|CapEff|NoNewPrivs)", "/proc/1/status").stdout
    assert rights.split()[1::2] == ["0" * 16, "0" * 16, "1"]


def test_it_ends_by_itself_when_it_is_stopped(service: Service) -> None:
    assert service.container.stop() == 0, service.container.log_tail()
