"""Every curl command of docs/api.md, run against a server."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from support.jobs import REPORT, delivered, parked, reported
from support.study import keep_study
from support.system.programs import need_program
from support.web_server import Web, picture
from synthetic.objects import make_cr

from service.domain.user import Role
from service.web.access import SESSION_COOKIE

PAGE: Final = Path(__file__).resolve().parents[4] / "docs" / "api.md"
COMMANDS: Final = re.findall(r"^(curl .+)$", PAGE.read_text(), re.MULTILINE)
TOKEN: Final = '-H "Authorization: Bearer $TOKEN"'


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with Web(tmp_path_factory.mktemp("web") / "state").running() as running:
        yield running


@pytest.fixture(scope="module")
def values(web: Web) -> dict[str, str]:
    """What the page's variables stand for."""
    finished = delivered(web)
    requeued, dismissed = parked(web), parked(web)
    verdict = reported(web)
    study = keep_study(web, make_cr(rows=64, columns=48))
    return {
        "$JOB": study.job_id,
        "$FINISHED": finished,
        "$PARKED": requeued,
        "$OTHER_PARKED": dismissed,
        "$REPORTED": verdict,
        "$REPORT": REPORT.sop_instance_uid,
        "$STUDY": study.source.StudyInstanceUID,
    }


def signed_in(web: Web, role: Role) -> str:
    """Options of curl with a session, in the place of a token."""
    client = web.sign_in(role)
    token = client.headers["X-CSRF-Token"]
    return (
        f'-H "Cookie: {SESSION_COOKIE}={client.cookies[SESSION_COOKIE]}" -H "X-CSRF-Token: {token}"'
    )


def role_for(command: str) -> Role:
    return Role.RADIOLOGIST if "verdicts" in command else Role.ADMIN


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_works(
    web: Web, values: dict[str, str], tmp_path: Path, command: str
) -> None:
    need_program("curl")
    (tmp_path / "chest.png").write_bytes(picture(seed=len(command)))
    text = command.replace(TOKEN, signed_in(web, role_for(command)))
    text = text.replace("http://127.0.0.1:8080", str(web.client.base_url).rstrip("/"))
    for name in sorted(values, key=len, reverse=True):
        text = text.replace(name, values[name])
    assert "$" not in text
    done = subprocess.run(
        [*shlex.split(text), "--silent", "--show-error", "--write-out", "\n%{http_code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout[-3:] in {"200", "201"}, done.stdout


def test_the_page_has_a_command_for_every_operation(web: Web) -> None:
    described = web.client.get("/api/openapi.json").json()["paths"]
    text = "\n".join(COMMANDS)
    for path in described:
        if path.startswith("/api/v1"):
            last = path.removeprefix("/api/v1").replace("{job_id}", r"\$[A-Z_]+")
            assert re.search(rf"/api/v1{last.replace('{kind}', 'sr')}(\b|$)", text), path
