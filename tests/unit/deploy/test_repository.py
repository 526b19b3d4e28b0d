"""What people expect of a repository is there, valid, and agrees with the rest."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).resolve().parents[3]
GITHUB: Final = ROOT / ".github"
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read(path: str) -> dict[str, Any]:
    """Read a YAML file of the repository."""
    read: dict[str, Any] = yaml.safe_load((ROOT / path).read_text())
    return read


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("github-workflows", "workflows/*.yml"),
        ("dependabot", "dependabot.yml"),
        ("citation-file-format", "../CITATION.cff"),
        ("github-issue-forms", "ISSUE_TEMPLATE/[!c]*.yml"),
        ("github-issue-config", "ISSUE_TEMPLATE/config.yml"),
    ],
)
def test_what_github_reads_is_valid_by_its_schema(schema: str, pattern: str) -> None:
    files = sorted(GITHUB.glob(pattern))
    assert files
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflow_runs_ci_on_every_python_that_is_promised() -> None:
    job = read(".github/workflows/ci.yml")["jobs"]["test"]
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert job["strategy"]["matrix"]["python"] == promised
    assert promised[0] == PROJECT["requires-python"].removeprefix(">=")
    assert job["container"] == "python:${{ matrix.python }}-bookworm", "has that interpreter"
    *_, run = job["steps"]
    assert run["run"] == "bash .ci/run"
    assert run["env"] == {"PYTHON": "python${{ matrix.python }}"}, "the interpreter of the matrix"
    assert "${PYTHON:-}" in (ROOT / "deploy" / "setup" / "venv.sh").read_text()


@pytest.mark.parametrize("name", ["ci", "nightly"])
def test_a_workflow_may_only_read_and_ends_by_itself(name: str) -> None:
    workflow = read(f".github/workflows/{name}.yml")
    assert workflow["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 180 for job in workflow["jobs"].values())


def test_the_nightly_workflow_runs_a_target_that_exists() -> None:
    (job,) = read(".github/workflows/nightly.yml")["jobs"].values()
    command = job["steps"][-1]["run"]
    target = command.removeprefix("make ")
    assert re.search(rf"^{target}: ", (ROOT / "Makefile").read_text(), re.MULTILINE), command


def test_each_issue_form_about_inputs_and_faults_warns_of_patient_data() -> None:
    for name in ("bug", "odd_input"):
        text = read(f".github/ISSUE_TEMPLATE/{name}.yml")["body"][0]["attributes"]["value"]
        assert "patient" in text.lower()


def test_the_hooks_before_a_commit_are_the_programs_of_the_lock() -> None:
    hooks = [hook for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    assert [hook["entry"].split()[0] for hook in hooks] == [
        *(".venv/bin/ruff", ".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/lint-imports"),
    ]
    checked = (ROOT / "Makefile").read_text()
    for hook in hooks:
        assert Path(hook["entry"].split()[0]).name in checked


def test_the_citation_names_the_project_as_it_is() -> None:
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == PROJECT["license"]
    assert [each["name"] for each in citation["authors"]] == [
        each["name"] for each in PROJECT["authors"]
    ]
    assert {"title", "message", "type", "version"} <= set(citation)


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", each) for each in versions[1:])
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert kinds


def test_packages_say_that_they_are_typed() -> None:
    assert (ROOT / "service" / "py.typed").exists()
    assert (ROOT / "workers" / "py.typed").exists()
