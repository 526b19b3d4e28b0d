"""`deploy/compose.yaml`: what each container runs is run, on networks as an engine makes them.

Each container is a process with a root, a network and rights of its own, and runs a program of this
machine: a stand-in for the image of the same program. Grafana is not among Debian's packages.
"""

import json
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import pytest
from support.containers.container import ROOT, require_right_to_contain
from support.containers.running import CLIENT, HOST_NAME, Running
from support.lobar_process import wait_for
from support.people import PASSWORD
from support.system.http import HTTP
from support.system.programs import need_program

pytestmark = [pytest.mark.containers, pytest.mark.orthanc, pytest.mark.postgresql]

SAMPLE: Final = ROOT / "service" / "demo" / "samples" / "dx_jpeg2000.dcm"
PARTS: Final = ("listener", "relay", "infer", "deliver", "web")
REPORT: Final = "SR"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The running profile full; one for all tests."""
    require_right_to_contain()
    running = Running(tmp_path_factory.mktemp("composition"))
    try:
        running.start()
        running.healthy()
        yield running
    finally:
        running.close()


class Browser:
    """curl on the network outside, which trusts the certificate of the proxy and keeps cookies."""

    def __init__(self, full: Running, name: str = "cookies") -> None:
        self._full = full
        self._cookies = full.folder / name

    def ask(self, path: str, *options: str, port: int = 443) -> tuple[int, dict[str, str], str]:
        """Return the status, the headers and the body of an answer."""
        address, inner = self._full.published("proxy", port)
        scheme = "http" if port == 80 else "https"
        done = subprocess.run(
            [
                *(
                    *self._full.network.command(CLIENT),
                    str(need_program("curl")),
                    "--silent",
                    "--include",
                ),
                *("--http1.1", "--cookie", str(self._cookies), "--cookie-jar", str(self._cookies)),
                *("--cacert", str(self._full.folder / "secrets" / "proxy_certificate")),
                *("--connect-to", f"{HOST_NAME}:{port}:{address}:{inner}", *options),
                f"{scheme}://{HOST_NAME}:{port}{path}",
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        head, _, body = done.stdout.partition("\n\n")
        first, *lines = head.splitlines()
        headers = dict(line.split(": ", 1) for line in lines if ": " in line)
        return int(first.split()[1]), {k.lower(): v for k, v in headers.items()}, body


@pytest.fixture
def browser(full: Running) -> Browser:
    return Browser(full)


def orthanc_holds(full: Running, modality: str) -> bool:
    with full.network.inside("orthanc"):
        instances = HTTP.get("http://127.0.0.1:8042/instances?expand&requestedTags=Modality").json()
        found = [
            HTTP.get(f"http://127.0.0.1:8042/instances/{each['ID']}/simplified-tags").json()
            for each in instances
        ]
    return modality in [each["Modality"] for each in found]


def prometheus(full: Running, query: str) -> list[dict[str, Any]]:
    with full.network.inside("prometheus"):
        answer = HTTP.get("http://127.0.0.1:9090/api/v1/query", params={"query": query}).json()
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def test_every_container_of_the_profile_runs_or_is_named_as_left_out(full: Running) -> None:
    assert {*full.containers, *full.left_out} == set(full.composition.services)
    assert set(full.left_out) <= {"grafana", "alertmanager"}
    assert [name for name, each in full.containers.items() if not each.is_running] == []


def test_an_instance_from_outside_ends_as_a_report_in_the_archive(full: Running) -> None:
    address, port = full.published("listener", 11112)
    sent = subprocess.run(
        [
            *(*full.network.command(CLIENT), str(need_program("storescu")), "-xv", "-aec", "LOBAR"),
            *(address, str(port), str(SAMPLE)),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert sent.returncode == 0, sent.stderr
    wait_for(lambda: orthanc_holds(full, REPORT))


def test_a_sender_that_is_not_listed_is_refused(full: Running) -> None:
    address, port = full.published("listener", 11112)
    asked = subprocess.run(
        [
            *full.network.command(CLIENT),
            str(need_program("echoscu")),
            "-aet",
            "ODD",
            address,
            str(port),
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert asked.returncode != 0
    assert "Rejected" in asked.stderr


def test_only_what_has_ports_is_reached_from_outside(full: Running) -> None:
    services = full.composition.services
    with_ports = {name for name, each in services.items() if "ports" in each}
    assert with_ports == {"listener", "orthanc", "proxy"}
    seen = full.network.hosts(CLIENT)
    assert set(seen) - {CLIENT} == {
        name for name in services if "outside" in services[name]["networks"]
    }
    for inside in ("10.89.7.11", "10.89.7.12"):  # web, ohif
        tried = [*full.network.command(CLIENT), "curl", "--silent", f"http://{inside}:8080/"]
        assert subprocess.run(tried, check=False, capture_output=True).returncode != 0


def test_a_container_has_no_rights_and_a_root_that_cannot_be_written(full: Running) -> None:
    for name in PARTS:
        container = full.containers[name]
        assert container.run("id", "-u").stdout.strip() == "10001"
        assert container.run("touch", "/etc/x").returncode != 0
        assert container.run("mktemp").returncode == 0
        status = container.run("grep", "-E", "^(CapBnd|NoNewPrivs)", "/proc/1/status").stdout
        assert status.split() == ["CapBnd:", "0" * 16, "NoNewPrivs:", "1"]


def test_the_proxy_leads_to_https_and_shows_the_pages(full: Running, browser: Browser) -> None:
    status, headers, _ = browser.ask("/quality", port=80)
    assert (status, headers["location"]) == (308, f"https://{HOST_NAME}/quality")
    status, headers, body = browser.ask("/health/ready")
    assert (status, json.loads(body)["missing"]) == (200, [])
    assert headers["strict-transport-security"] == "max-age=31536000"
    assert browser.ask("/metrics")[0] == 404
    assert browser.ask("/grafana/")[0] == (502 if "grafana" in full.left_out else 302)


def test_a_person_signs_in_through_the_proxy_and_sees_the_viewer(
    full: Running, browser: Browser
) -> None:
    added = full.containers["web"].run(
        *("lobar", "user", "add", "anna", "--role", "admin", "--password-stdin"),
        given=f"{PASSWORD}\n",
    )
    assert added.returncode == 0, added.stderr
    assert Browser(full, "nobody").ask("/dicom-web/studies", port=8444)[0] == 401

    form = ("--data-urlencode", f"password={PASSWORD}", "--data", "name=anna&next=/")
    status, headers, _ = browser.ask("/sign-in", *form)
    assert status == 303
    assert "; Secure" in headers["set-cookie"], "Lobar believes the proxy that it was https"

    assert browser.ask("/dicom-web/studies", port=8444)[0] == 200
    assert browser.ask("/dicom-web/studies", "--data", "x", port=8444)[0] == 403
    status, headers, body = browser.ask("/", port=8444)
    assert status == 200
    assert "<title>" in body
    assert headers["cross-origin-opener-policy"] == "same-origin"
    ours = (ROOT / "deploy" / "viewer" / "app-config.js").read_text()
    assert browser.ask("/app-config.js", port=8444)[2] == ours


def test_what_a_client_says_of_itself_does_not_reach_lobar(full: Running, browser: Browser) -> None:
    said = ("-H", "X-Forwarded-For: 192.0.2.1", "-H", "X-Forwarded-User: anna")
    for _ in range(2):
        browser.ask("/sign-in", *said, "--data", "name=nobody&password=wrong-password&next=/")
    trail = full.containers["web"].run("lobar", "audit", "--json").stdout
    addresses = {json.loads(line).get("address") for line in trail.splitlines()}
    assert full.network.address(CLIENT, "outside") in addresses
    assert "192.0.2.1" not in trail


def test_prometheus_scrapes_the_service(full: Running) -> None:
    up = wait_for(lambda: prometheus(full, 'up{job="lobar"} == 1'))
    assert up[0]["metric"]["instance"] == "web:8081"
    (balance,) = wait_for(lambda: prometheus(full, "lobar_balance"))
    assert balance["value"][1] == "0"


def test_every_container_ends_by_itself_when_it_is_stopped(full: Running) -> None:
    """The last test: nothing runs afterwards."""
    stopped = {name: each.stop() for name, each in reversed(full.containers.items())}
    assert {name: stopped[name] for name in PARTS} == dict.fromkeys(PARTS, 0)
    assert [name for name, status in stopped.items() if status not in (0, 143)] == []
