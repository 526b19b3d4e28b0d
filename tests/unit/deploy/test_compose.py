"""`deploy/compose.yaml`: valid, without rights, and in agreement with what it mounts."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from cryptography.x509 import DNSName, SubjectAlternativeName, load_pem_x509_certificate
from support.containers.composition import Composition
from support.system.machine import Machine
from support.system.programs import need_program

from service.settings import Settings
from service.settings.sections import WebSettings

ROOT: Final = Path(__file__).resolve().parents[3]
DEPLOY: Final = ROOT / "deploy"
PROXY: Final = (DEPLOY / "compose" / "proxy.conf").read_text()
FULL: Final = Composition("full")
SMALL: Final = Composition("small")
PARTS: Final = {"listener", "relay", "infer", "deliver", "web"}
OTHERS: Final = {"postgres", "valkey", "orthanc", "ohif", "prometheus", "alertmanager", "grafana"}
MADE_LATER: Final = ("../.cache/ohif",)  # by ohif.sh
SERVICES: Final = sorted({**FULL.services, **SMALL.services}.items())


def settings(file: str) -> Settings:
    """Return the settings of a file of the composition, without those of this environment."""
    return Settings(**tomllib.loads((DEPLOY / "compose" / file).read_text()))


def test_it_is_valid_by_the_schema_of_the_compose_specification() -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"),
            DEPLOY / "compose.yaml",
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_profiles_are_one_container_and_every_part() -> None:
    assert set(SMALL.services) == {"lobar"}
    assert set(FULL.services) == PARTS | OTHERS | {"proxy"}


@pytest.mark.parametrize(("name", "service"), SERVICES, ids=[name for name, _ in SERVICES])
def test_a_container_may_write_nowhere_but_in_its_volumes(
    name: str, service: dict[str, Any]
) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert ("cap_add" in service) == (name == "postgres")


@pytest.mark.parametrize(("name", "service"), SERVICES, ids=[name for name, _ in SERVICES])
def test_an_image_is_named_with_its_registry_and_a_version(
    name: str, service: dict[str, Any]
) -> None:
    registry, _, rest = service["image"].partition("/")
    assert registry in {"docker.io", "localhost"}, name
    tag = rest.rpartition(":")[2]
    assert re.search(r"\d", tag) or tag == "cpu"


@pytest.mark.parametrize(("name", "service"), SERVICES, ids=[name for name, _ in SERVICES])
def test_what_a_container_mounts_is_there(name: str, service: dict[str, Any]) -> None:
    for each in service.get("volumes", ()):
        source = each.split(":")[0]
        if source.startswith(MADE_LATER):
            continue
        known = (DEPLOY / source).exists() if source.startswith(".") else source in volumes()
        assert known, f"{name}: {source}"
    made = (DEPLOY / "compose" / "secrets.sh").read_text()
    for each in service.get("secrets", ()):
        assert re.search(rf"keep {each} ", made), f"{name}: {each}"


def volumes() -> set[str]:
    return set(FULL.content["volumes"])


def test_no_secret_is_in_the_repository() -> None:
    secrets = [Path(each["file"]) for each in FULL.content["secrets"].values()]
    assert {each.parent for each in secrets} == {Path("compose/secrets")}
    assert "/deploy/compose/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("file", ["small.toml", "full.toml"])
def test_the_settings_are_valid_and_the_state_is_a_folder_in_the_volume(file: str) -> None:
    read = settings(file)
    assert str(read.state_dir) == "/var/lib/lobar/state"
    assert read.dicom.allowed_calling_ae_titles
    assert not read.dicom.allow_any_calling_ae_title


def test_the_settings_name_services_and_ports_of_the_composition() -> None:
    read = settings("full.toml")
    assert read.ledger.url is not None
    assert re.search(r"@(\w+)/", read.ledger.url)[1] in FULL.services  # type: ignore[index]
    assert read.redis.url is not None
    assert re.search(r"//(\w+):6379", read.redis.url)[1] in FULL.services  # type: ignore[index]
    assert [each.name for each in read.destinations] == ["orthanc"]
    (listener,) = FULL.services["listener"]["ports"]
    assert listener == f"{read.dicom.port}:{read.dicom.port}"
    (address,) = read.sign_in.proxy_addresses
    proxy = FULL.services["proxy"]["networks"]["inside"]["ipv4_address"]
    assert str(address).removesuffix("/32") == proxy
    scraped = yaml.safe_load((DEPLOY / "compose" / "prometheus.yml").read_text())
    (job,) = [each for each in scraped["scrape_configs"] if each["job_name"] == "lobar"]
    assert job["static_configs"] == [{"targets": [f"web:{read.health.port}"]}]


def test_the_proxy_serves_services_of_the_composition_and_the_ports_that_are_published() -> None:
    named = set(re.findall(r"(?:proxy_pass http://|server )([a-z]+)[:;]", PROXY))
    assert named - {"lobar"} == {"web", "ohif", "grafana"}
    for name in named - {"lobar"}:
        assert "ipv4_address" in FULL.services[name]["networks"]["inside"]
    listened = set(re.findall(r"listen (\d+)", PROXY))
    published = {each.split(":")[-1] for each in FULL.services["proxy"]["ports"]}
    assert listened == published


def test_the_proxy_takes_what_lobar_takes() -> None:
    limit = re.search(r"client_max_body_size (\d+)m;", PROXY)
    assert limit is not None
    web = WebSettings()
    assert int(limit[1]) * 2**20 == web.maximum_upload_bytes
    timeout = re.search(r"proxy_read_timeout (\d+)s;", PROXY)
    assert timeout is not None
    assert int(timeout[1]) > web.maximum_zip_seconds


def test_a_part_has_time_to_drain_before_it_is_killed() -> None:
    drain = Settings.model_fields["drain_seconds"].default
    for name in PARTS:
        assert int(FULL.services[name]["stop_grace_period"].removesuffix("s")) > drain


def test_only_the_pages_of_one_container_are_published_and_to_this_machine_only() -> None:
    dicom, pages = SMALL.services["lobar"]["ports"]
    assert dicom == "11112:11112"
    assert pages == "127.0.0.1:8080:8080"


def test_the_network_of_the_parts_leads_nowhere() -> None:
    assert FULL.content["networks"]["inside"]["internal"] is True
    for name in ("postgres", "valkey", "web", "relay", "infer"):
        networks = FULL.services[name]["networks"]
        assert list(networks) == ["inside"]


class TestSecrets:
    """`secrets.sh` makes what is not there, for the accounts of the containers."""

    SCRIPT: Final = "deploy/compose/secrets.sh"

    @pytest.fixture
    def host(self, machine: Machine) -> Machine:
        machine.add("bin/chown", 'echo "${2##*/} $1" >>"$NOTES"')
        machine.add("bin/openssl", f'exec {need_program("openssl")} "$@"')
        return machine

    def made(self, host: Machine) -> dict[str, str]:
        folder = host.project / "deploy" / "compose" / "secrets"
        return {each.name: each.read_text() for each in folder.iterdir()}

    def test_each_secret_of_the_composition_is_made_and_readable_by_one_account(
        self, host: Machine
    ) -> None:
        done = host.run(self.SCRIPT, "lobar.example.org")
        assert done.returncode == 0, done.stderr
        made = self.made(host)
        assert set(made) == set(FULL.content["secrets"])
        folder = host.project / "deploy" / "compose" / "secrets"
        assert {each.stat().st_mode & 0o777 for each in folder.iterdir()} == {0o400}
        owners = dict(line.split() for line in host.notes())
        assert owners.pop("grafana_password") == "472:472"
        assert set(owners.values()) == {"10001:10001"}
        assert len({made[f"{name}_password"] for name in ("ledger", "redis", "grafana")}) == 3
        assert f"requirepass {made['redis_password']}" in made["valkey_configuration"]

    def test_the_certificate_is_for_the_name(self, host: Machine) -> None:
        host.run(self.SCRIPT, "lobar.example.org")
        certificate = load_pem_x509_certificate(self.made(host)["proxy_certificate"].encode())
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
        assert names.get_values_for_type(DNSName) == ["lobar.example.org"]

    def test_what_is_there_stays(self, host: Machine) -> None:
        host.run(self.SCRIPT)
        before = self.made(host)
        again = host.run(self.SCRIPT)
        assert (again.returncode, again.stdout) == (0, "")
        assert self.made(host) == before

    def test_another_account_than_root_is_told(self, host: Machine) -> None:
        host.become_user()
        done = host.run(self.SCRIPT)
        assert done.returncode == 77
        assert done.stderr.startswith("secrets: run it as root")

    def test_a_name_that_is_none_is_refused(self, host: Machine) -> None:
        assert host.run(self.SCRIPT, "a b/../c").returncode == 2
