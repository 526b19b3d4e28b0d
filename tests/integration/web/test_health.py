import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.system.ports import LOOPBACK, free_port
from support.web_server import Web

from service.settings import ConfigurationError, Settings
from service.storage.faults import Fault
from service.telemetry.heartbeat import machine
from service.web.serve import serve

ROLES = ("listener", "relay", "infer", "deliver")


def beat(web: Web, *roles: str) -> None:
    for role in roles:
        web.ledger.heartbeats.beat(role, f"test/{role}/", ready=True)


def test_it_is_ready_when_every_role_is(web: Web) -> None:
    beat(web, *ROLES)
    answer = web.client.get("/health/ready")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "missing": []})


@pytest.mark.parametrize("role", ROLES)
def test_it_is_not_ready_while_one_role_is_missing(web: Web, role: str) -> None:
    beat(web, *(each for each in ROLES if each != role))
    web.ledger.heartbeats.beat(role, "test/starting/", ready=False)
    answer = web.client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["missing"] == [f"{role}: no process is ready"]


@pytest.mark.parametrize("role", ROLES)
def test_a_part_that_makes_no_progress_is_not_ready_and_is_named(web: Web, role: str) -> None:
    beat(web, *(each for each in ROLES if each != role))
    web.ledger.heartbeats.beat(role, f"test/{role}/", ready=True, progress=False)
    answer = web.client.get("/health/ready")
    assert (answer.status_code, answer.json()["missing"]) == (503, [f"{role}: makes no progress"])


def test_an_open_breaker_of_the_infer_workers_is_not_ready_and_its_fault_is_named(
    web: Web,
) -> None:
    beat(web, *ROLES)
    web.ledger.breakers.open("test/infer/", lambda _: 60, Fault.DISK_FULL)
    answer = web.client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["infer: breaker open, disk-full"]
    web.ledger.breakers.close("test/infer/")
    assert web.client.get("/health/ready").status_code == 200


def test_it_is_ready_when_the_breaker_of_one_machine_of_two_is_open(web: Web) -> None:
    beat(web, *ROLES)
    web.ledger.heartbeats.beat("infer", "other/infer/1/", ready=True)
    web.ledger.breakers.open("test/infer/", lambda _: 60, Fault.DEVICE_FAILED)
    assert web.client.get("/health/ready").status_code == 200


def test_a_worker_that_starts_anew_after_a_fault_is_missing_with_its_fault(web: Web) -> None:
    beat(web, *(each for each in ROLES if each != "infer"))
    web.ledger.heartbeats.beat("infer", "test/infer/2/", ready=False)
    web.ledger.breakers.open("test/infer/", lambda _: 60, Fault.DEVICE_FAILED)
    answer = web.client.get("/health/ready")
    assert answer.json()["missing"] == ["infer: no process is ready, device-failed"]


@pytest.mark.parametrize("role", [*ROLES, "web"])
def test_a_part_of_this_machine_is_asked_for_by_its_name(web: Web, role: str) -> None:
    web.ledger.heartbeats.beat(role, f"elsewhere/{role}/1/", ready=True)
    answer = web.client.get(f"/health/ready?part={role}")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "missing": [f"{role}: no process is ready"]}
    web.ledger.heartbeats.beat(role, f"{machine()}{role}/1/", ready=True)
    answer = web.client.get(f"/health/ready?part={role}")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "missing": []})


def test_a_part_of_this_machine_does_not_depend_on_breakers_of_others(web: Web) -> None:
    web.ledger.heartbeats.beat("infer", f"{machine()}infer/1/", ready=True)
    web.ledger.breakers.open("elsewhere/infer/", lambda _: 60, Fault.DEVICE_FAILED)
    assert web.client.get("/health/ready?part=infer").status_code == 200
    web.ledger.breakers.open(f"{machine()}infer/", lambda _: 60, Fault.DEVICE_FAILED)
    answer = web.client.get("/health/ready?part=infer")
    assert answer.json()["missing"] == ["infer: breaker open, device-failed"]


def test_a_part_that_does_not_exist_is_refused(web: Web) -> None:
    answer = web.client.get("/health/ready?part=everything")
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_the_breaker_of_a_destination_does_not_matter(web: Web) -> None:
    beat(web, *ROLES)
    web.ledger.deliveries.open_breaker("test", lambda _: 60)
    assert web.client.get("/health/ready").status_code == 200


def test_a_disk_at_its_reserve_is_not_ready(tmp_path: Path) -> None:
    with Web(tmp_path / "state", reserve_bytes=1 << 60).running() as full:
        beat(full, *ROLES)
        answer = full.client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["spool: the disk is at its reserve"]


def test_a_spool_that_cannot_be_written_is_not_ready(web: Web) -> None:
    beat(web, *ROLES)
    shutil.rmtree(web.spool.incoming)
    answer = web.client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["spool: cannot be written"]


def test_without_its_ledger_it_is_live_not_ready_and_still_serves_metrics(
    web: Web, tmp_path: Path
) -> None:
    beat(web, *ROLES)
    web.ledger.close()
    for path in (tmp_path / "state").glob("ledger.sqlite3*"):
        path.unlink()
    assert web.client.get("/health/live").status_code == 200
    ready = web.client.get("/health/ready")
    assert (ready.status_code, ready.json()["missing"]) == (503, ["ledger: does not answer"])
    metrics = web.client.get("/metrics")
    assert (metrics.status_code, "lobar_ledger_up 0.0" in metrics.text) == (200, True)
    page = web.client.get("/")
    assert (page.status_code, "The ledger does not answer." in page.text) == (503, True)
    problem = web.client.get("/api/jobs")
    assert (problem.status_code, problem.json()["status"]) == (503, 503)


def test_the_metrics_page_balances(web: Web) -> None:
    for _ in range(3):
        web.receive()
    page = web.client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    assert "lobar_balance 0.0" in page.text
    assert "lobar_ledger_received 3.0" in page.text
    assert "# HELP lobar_instances_received_total " in page.text


SERVING = """
import sys
from pathlib import Path
from service.storage.ledger import Ledger
from service.receiving.ingest import Ingest
from service.settings import Settings
from service.storage.spool import Spool
from service.web.serve import serve
settings = Settings(state_dir=Path(sys.argv[1]), web={"port": int(sys.argv[2])})
spool = Spool(settings.spool_dir)
spool.prepare()
ledger = Ledger(settings.ledger_url)
ledger.upgrade()
serve(settings, ledger, spool, Ingest(spool, ledger, lambda: None), None, None)
ledger.close()
print("closed", flush=True)
"""


def test_sigterm_lets_a_request_finish_and_the_caller_close(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVING, tmp_path, str(port)],
        cwd=Path(__file__).resolve().parents[3],
        stdout=subprocess.PIPE,
    )
    try:
        with httpx.Client(
            base_url=f"http://{LOOPBACK}:{port}",
            transport=httpx.HTTPTransport(retries=10),
            timeout=30,
        ) as client:
            client.get("/health/live")
            with socket.create_connection((LOOPBACK, port), timeout=30) as slow:
                body = b"--cut\r\nContent-Disposition: form-data; name=f\r\n\r\n1\r\n--cut--\r\n"
                slow.sendall(
                    b"POST /api/instances HTTP/1.1\r\nHost: localhost\r\n"
                    b"Content-Type: multipart/form-data; boundary=cut\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (len(body), body[:20])
                )
                client.get("/health/live")  # by now the slow one is being handled
                process.send_signal(signal.SIGTERM)
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.5)
                slow.sendall(body[20:])
                assert slow.recv(65536).startswith(b"HTTP/1.1 400 ")
        said, _ = process.communicate(timeout=30)
        assert (process.returncode, said.splitlines()[-1]) == (0, b"closed")
    finally:
        process.kill()
        process.wait()


def test_sigterm_ends_open_streams_of_events_whole(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVING, tmp_path, str(port)],
        cwd=Path(__file__).resolve().parents[3],
        stdout=subprocess.PIPE,
    )
    try:
        with httpx.Client(
            base_url=f"http://{LOOPBACK}:{port}",
            transport=httpx.HTTPTransport(retries=10),
            timeout=30,
        ) as client:
            client.get("/health/live")
            with client.stream("GET", "/events") as answer:
                lines = answer.iter_lines()
                assert next(lines) == "retry: 3000"
                process.send_signal(signal.SIGTERM)
                for _ in lines:  # a stream that is cut off raises an error here
                    pass
        said, _ = process.communicate(timeout=30)
        assert (process.returncode, said.splitlines()[-1]) == (0, b"closed")
        assert b"Cancel" not in said
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "lobar.example"])  # noqa: S104
def test_an_address_that_others_reach_must_be_allowed(tmp_path: Path, host: str) -> None:
    web = Web(tmp_path / "state")
    settings = Settings(web={"host": host})
    with pytest.raises(ConfigurationError, match=r"web\.allow_non_loopback"):
        serve(settings, web.ledger, web.spool, None, None, None)  # type: ignore[arg-type]
    web.ledger.close()
    web.client.close()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    web = Web(tmp_path / "state")
    with (
        socket.create_server((LOOPBACK, web.port)),
        pytest.raises(ConfigurationError, match=rf"web\.port {web.port}"),
    ):
        serve(web.settings, web.ledger, web.spool, None, None, None)  # type: ignore[arg-type]
    web.ledger.close()
    web.client.close()
