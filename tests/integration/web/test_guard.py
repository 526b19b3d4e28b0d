import pytest
from starlette.datastructures import Headers
from support.web_server import Web, picture

from service.web.guard import is_cross_site, is_our_host


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("localhost", True),
        ("10.1.2.3:8080", True),
        ("lobar-web:8080", True),
        ("lobar.hospital.example", True),
        ("rebound.attacker.example", False),
        ("localhost.attacker.example:8080", False),
        ("127.0.0.1.attacker.example", False),
        ("", False),
        ("[", False),
    ],
)
def test_a_host_is_accepted_when_nobody_outside_can_own_its_name(
    host: str, *, is_ours: bool
) -> None:
    assert is_our_host(host, {"lobar.hospital.example"}) is is_ours


@pytest.mark.parametrize(
    ("headers", "is_foreign"),
    [
        ({}, False),
        ({"sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-site"}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "cross-site", "origin": "http://localhost:8080"}, True),
        ({"origin": "http://localhost:8080"}, False),
        ({"origin": "http://localhost:9999"}, True),
        ({"origin": "http://attacker.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": "http://["}, True),
    ],
)
def test_a_request_of_another_sites_page_is_recognised(
    headers: dict[str, str], *, is_foreign: bool
) -> None:
    assert is_cross_site(Headers({"host": "localhost:8080", **headers})) is is_foreign


@pytest.mark.parametrize("path", ["/upload", "/api/instances", f"/jobs/{'0' * 32}/requeue"])
def test_another_sites_page_cannot_change_anything(empty_web: Web, path: str) -> None:
    headers = {"sec-fetch-site": "cross-site"}
    answer = empty_web.client.post(path, files={"files": picture()}, headers=headers)
    assert answer.status_code == 403
    assert empty_web.ledger.queries.recent() == []


def test_a_rebound_name_sees_nothing(empty_web: Web) -> None:
    for path in ("/", "/api/jobs", "/metrics", "/health/live", "/static/lobar.css"):
        answer = empty_web.client.get(path, headers={"host": "rebound.attacker.example"})
        assert answer.status_code == 421
        assert len(answer.text) < 2000


@pytest.mark.parametrize(
    "path", ["/", "/nothing", "/api/nothing", "/api/jobs", "/health/live", "/static/lobar.css"]
)
def test_every_response_has_the_security_headers(empty_web: Web, path: str) -> None:
    headers = empty_web.client.get(path).headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert ("no-store" in headers["cache-control"]) is (not path.startswith("/static/"))
