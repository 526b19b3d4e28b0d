"""The wheel outside the repository: what it holds, and that an installed one works."""

import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from support.installed_wheel import ROOT, FreshEnvironment, build_wheel, run

SAMPLES = ROOT / "service" / "demo" / "samples"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> FreshEnvironment:
    return FreshEnvironment(tmp_path_factory.mktemp("environment"), wheel)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with packages of the same names, which must not be imported."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in ("service", "workers", "scripts"):
        package = folder / name / "__init__.py"
        package.parent.mkdir()
        package.write_text("raise RuntimeError('imported from the working directory')\n")
    return folder


@pytest.fixture(scope="module")
def analysed(environment: FreshEnvironment, elsewhere: Path) -> list[dict[str, Any]]:
    """What the installed `lobar analyze --json` prints of the samples in the wheel."""
    samples = environment.site_packages / "service" / "demo" / "samples"
    files = map(str, sorted(samples.glob("*.dcm")))
    return readings(environment.run("lobar", "analyze", "--json", *files, at=elsewhere).stdout)


def readings(output: str) -> list[dict[str, Any]]:
    """Read the lines of `lobar analyze --json`, without the folders of the files."""
    lines = [json.loads(line) for line in output.splitlines()]
    return [line | {"file": Path(line["file"]).name} for line in lines]


def test_the_wheel_holds_all_that_runs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        text = b"".join(archive.read(name) for name in names if not name.endswith((".dcm", ".pt")))
    modules = {
        str(path.relative_to(ROOT))
        for top in ("service", "workers", "monai_bundle/scripts")
        for path in (ROOT / top).rglob("*.py")
    }
    version = wheel.name.split("-")[1]
    data = {
        *("service/py.typed", "workers/py.typed"),
        *(f"service/demo/samples/{path.name}" for path in SAMPLES.iterdir()),
        *(str(each.relative_to(ROOT)) for each in (ROOT / "service/web/static").rglob("*.*")),
        *(str(each.relative_to(ROOT)) for each in (ROOT / "service/web/templates").rglob("*.html")),
        *(str(each.relative_to(ROOT)) for each in (ROOT / "service/messages/templates").iterdir()),
        "service/storage/ledger/migrations/script.py.mako",
        *(
            f"monai_bundle/configs/{path.name}"
            for path in (ROOT / "monai_bundle/configs").iterdir()
        ),
        *("monai_bundle/LICENSE", "monai_bundle/docs/README.md", "monai_bundle/models/model.pt"),
        "monai_bundle/pins.sha256",
        f"lobar-{version}.data/data/share/lobar/lobar.example.toml",
    }
    metadata = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt")
    licences = ("licenses/LICENSE", "licenses/monai_bundle/LICENSE")
    described = {f"lobar-{version}.dist-info/{name}" for name in (*metadata, *licences)}
    assert names == modules | data | described
    assert len([name for name in names if name.endswith(".dcm")]) == 3
    assert str(ROOT).encode() not in text
    assert str(wheel.parent).encode() not in text


def test_an_installed_wheel_imports_from_its_own_environment_without_the_training_extra(
    environment: FreshEnvironment, tmp_path: Path
) -> None:
    script = (
        "import service, workers; from service.settings import SHIPPED_BUNDLE;"
        "print(service.__file__, workers.__file__, SHIPPED_BUNDLE);"
        "from importlib.util import find_spec;"
        "print(*map(find_spec, ('fire', 'ignite', 'matplotlib', 'tqdm')))"
    )
    paths, training = environment.run("python", "-c", script, at=tmp_path).stdout.splitlines()
    expected = ("service/__init__.py", "workers/__init__.py", "monai_bundle")
    assert paths.split() == [str(environment.site_packages / each) for each in expected]
    assert training == "None None None None"


def test_lobar_analyze_gives_the_numbers_of_the_repository(
    analysed: list[dict[str, Any]],
) -> None:
    arguments = ("analyze", "--json", *map(str, sorted(SAMPLES.glob("*.dcm"))))
    command = (sys.executable, "-m", "service.cli", *arguments)
    assert [each["outcome"] for each in analysed] == ["analysed"] * 3
    assert analysed == readings(run(*command, at=ROOT).stdout)


def test_lobar_demo_reports_every_sample(
    environment: FreshEnvironment, elsewhere: Path, analysed: list[dict[str, Any]]
) -> None:
    shown = environment.run("lobar", "demo", at=elsewhere).stdout
    rows = [line.split() for line in shown.splitlines() if re.search(r"\.dcm .*\.dcm", line)]
    assert [row[:3] for row in rows] == [
        [each["file"], each["finding"], f"{each['probability']:.3f}"] for each in analysed
    ]
    assert {row[1] for row in rows} >= {"present", "absent"}
    for *_, report, seconds in rows:
        assert dcmread(report, force=True).Modality == "SR"
        assert float(seconds) > 0
    assert "Not a medical device" in shown


def test_evaluation_without_the_training_extra_names_what_to_install(
    environment: FreshEnvironment,
) -> None:
    bundle = environment.site_packages / "monai_bundle"
    done = environment.run("python", "-m", "scripts.evaluation", at=bundle, status=1)
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "training and evaluation need fire, ignite, matplotlib, tqdm: pip install 'lobar[train]'"
    ]
