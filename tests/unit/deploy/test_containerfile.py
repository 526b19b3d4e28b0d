"""The Containerfile and the scripts beside it: clean, complete, and without a package index."""

import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import pytest
from support.containers.containerfile import FILE, image, lineage, stages
from support.system.machine import Machine

from service import container
from service.dicom.implementation import VERSION
from service.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[3]
BUILD: Final = "deploy/containers/build.sh"
TORCH: Final = "deploy/containers/install_torch.sh"
TARGETS: Final = ("cpu", "cuda")
IGNORED: Final = (ROOT / ".containerignore").read_text().splitlines()
# an engine, or pip, that writes down how it was called
NOTES: Final = 'echo "${0##*/} $*" >>"$NOTES"'
PIP_WITHOUT_CPU_BUILDS: Final = (
    NOTES
    + """
case "$*" in *+cpu) echo 'No matching distribution' >&2; exit 1 ;; esac
"""
)


def copied(target: str) -> list[str]:
    """Return what the stages of a target copy from the repository."""
    return [
        source
        for stage in lineage(f"install-{target}")
        for each in stage.instructions
        if each.word == "COPY" and not each.rest.startswith("--from=")
        for source in each.rest.split()[:-1]
    ]


def is_in_the_context(path: str) -> bool:
    """Return whether the build may see a path, by the last line that speaks of it."""
    seen = True
    for line in IGNORED:
        pattern = line.removeprefix("!")
        if not line or line.startswith("#"):
            continue
        if path == pattern or path.startswith(f"{pattern}/") or fnmatch(path, pattern):
            seen = line.startswith("!")
    return seen


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "hadolint", "--failure-threshold", "style", FILE],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("target", TARGETS)
def test_what_the_build_copies_is_there_and_in_its_context(target: str) -> None:
    *named, everything = copied(target)
    assert everything == ".", "all of the context, after what changes seldom"
    assert {"requirements-runtime.lock", "pyproject.toml"} <= {*named}
    assert [each for each in named if not (ROOT / each).exists()] == []
    assert [each for each in named if not is_in_the_context(each)] == []


def test_the_context_is_what_the_wheel_is_made_of_and_no_more() -> None:
    needed = [
        *("deploy/lobar.example.toml", "monai_bundle/models/model.pt", "service/cli.py"),
        *("monai_bundle/docs/README.md", "monai_bundle/configs/metadata.json", "LICENSE"),
    ]
    kept_away = [
        *(".git/config", ".venv/bin/python", "tests/conftest.py", "state/ledger.sqlite3"),
        *("deploy/compose/secrets/proxy_key", "runs/x", "monai_bundle/docs/tables/a.csv"),
    ]
    assert all(map(is_in_the_context, needed))
    assert not any(map(is_in_the_context, kept_away))
    assert (ROOT / ".dockerignore").resolve() == ROOT / ".containerignore"


def test_every_stage_that_is_copied_from_exists_and_cpu_is_the_default() -> None:
    found = stages()
    named = [
        each.rest.split()[0].removeprefix("--from=")
        for stage in found.values()
        for each in stage.instructions
        if each.word == "COPY" and each.rest.startswith("--from=")
    ]
    assert sorted(named) == ["install-cpu", "install-cuda"]
    assert set(named) <= set(found)
    assert list(found)[-1] == "cpu"


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_a_number_that_is_not_root(target: str) -> None:
    described = image(target, "/usr/bin")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", described.user)
    assert described.environment["PATH"] == "/opt/lobar/bin:/usr/bin"


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_lobar_up_and_asks_it_for_its_health(target: str) -> None:
    described = image(target, "")
    state_dir = Path(described.environment["LOBAR_STATE_DIR"])
    said = {each.word: each.rest for stage in lineage(target) for each in stage.instructions}
    assert described.entrypoint == ["python", "-P", "-m", "service.container", "run", "lobar"]
    assert described.command == ["up"]
    volume = Path(said["VOLUME"].strip('[]"'))
    assert state_dir.parent == volume, (
        "a folder of its own in the volume, which Lobar makes private"
    )
    assert f'"service.health_check", "{state_dir / "health.sock"}"' in said["HEALTHCHECK"]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_what_it_is(target: str) -> None:
    labels = [
        each.rest
        for stage in lineage(target)
        for each in stage.instructions
        if each.word == "LABEL"
    ]
    said = " ".join(labels)
    for name in ("title", "description", "licenses", "version", "revision", "created"):
        assert f"org.opencontainers.image.{name}=" in said
    assert "lobar.sbom=" in said


def test_no_index_of_packages_is_named() -> None:
    for file in (ROOT / "deploy" / "containers").iterdir():
        assert not re.search(r"https?://(?!cyclonedx\.org)", file.read_text()), file.name


def test_the_limits_of_process_1_are_those_of_the_settings() -> None:
    assert Settings.model_fields["start_seconds"].default < container.START_SECONDS
    assert Settings.model_fields["stuck_seconds"].default > container.SILENT_SECONDS


class TestTorch:
    """`install_torch.sh` takes the build that the target is for."""

    @pytest.fixture
    def build(self, machine: Machine) -> Machine:
        machine.project.mkdir()
        (machine.project / "pyproject.toml").write_text('    "torch==9.8.7",\n')
        machine.add("pip", NOTES)
        return machine

    def run(self, build: Machine, *arguments: str) -> subprocess.CompletedProcess[str]:
        build.add("bin/in-project", f'cd {build.project}; exec bash "$@"')
        text = (ROOT / TORCH).read_text()
        (build.project / "script").write_text(text)
        return subprocess.run(
            [build.folder / "bin/in-project", "script", *arguments],
            env={
                "PATH": str(build.folder / "bin"),
                "NOTES": str(build.folder / "notes"),
                "PIP": str(build.folder / "pip"),
            },
            check=False,
            capture_output=True,
            text=True,
        )

    def test_for_cpu_the_cpu_build_alone(self, build: Machine) -> None:
        assert self.run(build, "cpu").returncode == 0
        assert build.notes() == [
            "pip install --no-cache-dir --only-binary :all: --no-deps torch==9.8.7+cpu"
        ]

    def test_where_there_is_no_cpu_build_the_default_one_and_a_line(self, build: Machine) -> None:
        build.add("pip", PIP_WITHOUT_CPU_BUILDS)
        done = self.run(build, "cpu")
        assert done.returncode == 0
        assert build.notes()[-1] == "pip install --no-cache-dir --only-binary :all: torch==9.8.7"
        assert "no CPU build" in done.stdout

    def test_for_cuda_any_but_the_cpu_build_with_what_it_needs(self, build: Machine) -> None:
        assert self.run(build, "cuda").returncode == 0
        (line,) = build.notes()
        assert line.endswith("torch==9.8.7,!=9.8.7+cpu")
        assert "--no-deps" not in line

    def test_another_word_is_refused(self, build: Machine) -> None:
        assert self.run(build, "tpu").returncode == 2
        assert build.notes() == []

    def test_the_version_is_found_in_the_project(self) -> None:
        assert re.search(
            r'^ *"(torch==[^"]*)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
        )


class TestBuild:
    """`build.sh` calls the engine that is there, with the version of the code."""

    @pytest.fixture
    def workplace(self, machine: Machine) -> Machine:
        code = Path("service/dicom/implementation.py")
        (machine.project / code).parent.mkdir(parents=True)
        shutil.copy(ROOT / code, machine.project / code)
        machine.add("bin/git", "exit 128")
        machine.add("bin/date", "echo 2026-01-02T03:04:05Z")
        return machine

    def test_podman_is_taken_first_and_makes_an_image_with_a_health_check(
        self, workplace: Machine
    ) -> None:
        workplace.add("bin/podman", NOTES)
        workplace.add("bin/docker", NOTES)
        assert workplace.run(BUILD).returncode == 0
        (line,) = workplace.notes()
        assert line.startswith("podman build --format docker --file deploy/containers/Container")
        assert "--target cpu " in line
        assert f"--build-arg VERSION={VERSION} " in line
        assert line.endswith("--tag localhost/lobar:cpu .")

    def test_what_follows_the_target_goes_to_the_engine(self, workplace: Machine) -> None:
        workplace.add("bin/docker", NOTES)
        variables = {"IMAGE": "registry.example.org/lobar:1"}
        done = workplace.run(BUILD, "cuda", "--build-arg", "BASE=x", variables=variables)
        assert done.returncode == 0
        (line,) = workplace.notes()
        assert "--format" not in line
        assert line.endswith("--tag registry.example.org/lobar:1 --build-arg BASE=x .")

    def test_without_an_engine_it_says_so(self, workplace: Machine) -> None:
        done = workplace.run(BUILD)
        assert done.returncode == 69
        assert done.stderr == "build: no Podman, Buildah or Docker on this machine\n"

    def test_an_unknown_target_is_refused(self, workplace: Machine) -> None:
        assert workplace.run(BUILD, "tpu").returncode == 2
