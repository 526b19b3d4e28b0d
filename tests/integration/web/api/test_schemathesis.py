"""Schemathesis calls every operation with what the API's description allows and forbids."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from support.jobs import REPORT, delivered, parked, reported
from support.web_server import Web

from service.domain.user import Role
from service.web.access import SESSION_COOKIE

SEED: Final = "20261129"
# that a file is neither DICOM, PNG nor JPEG, no schema can say
UPLOADS: Final = """
[[operations]]
include-path-regex = "/instances$"
checks.positive_data_acceptance.expected-statuses = [200, 201, 207, 401, 403, 415, 422]
"""
EXAMPLES: Final = {"ordinary": "8", "full": "150"}  # of each operation


def run(web: Web, folder: Path, role: Role, examples: str, job_id: str | None) -> str:
    """Run all checks with the session of a role; return the output if one of them failed."""
    client = web.sign_in(role)
    session = f'[auth.openapi]\nsession = {{ api_key = "{client.cookies[SESSION_COOKIE]}" }}\n'
    token = f"X-CSRF-Token: {client.headers['X-CSRF-Token']}"
    on_the_job = f'[parameters]\n"path.job_id" = "{job_id}"\n' if job_id else ""
    (folder / "schemathesis.toml").write_text(session + on_the_job + UPLOADS)
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("st"), "run", "--checks", "all"),
            *("--seed", SEED, "--max-examples", examples, "--continue-on-failure"),
            *("--suppress-health-check", "all", "-H", token),
            f"http://127.0.0.1:{web.port}/api/openapi.json",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("role", "on_a_job"),
    [
        (Role.ADMIN, True),
        (Role.RADIOLOGIST, True),
        (Role.RADIOLOGIST, False),
        # no role reaches a job that is not there, and the other operations are called above
        pytest.param(Role.ADMIN, False, marks=pytest.mark.full),
    ],
)
def test_schemathesis_finds_nothing(
    web: Web, tmp_path: Path, request: pytest.FixtureRequest, role: Role, *, on_a_job: bool
) -> None:
    jobs = [parked(web), delivered(web), reported(web)]
    for job_id in jobs:
        web.spool.put_output(job_id, "sr", REPORT.sop_instance_uid, b"the report")
    examples = EXAMPLES["full" if request.config.getoption("--full") else "ordinary"]
    found = run(web, tmp_path, role, examples, jobs[2] if on_a_job else None)
    assert not found, found
