"""`deploy/containers/sbom.py`: judged by CycloneDX's own library, and by its own tool."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from service.dicom.implementation import VERSION

ROOT: Final = Path(__file__).resolve().parents[3]
WEIGHTS: Final = ROOT / "monai_bundle" / "models" / "model.pt"
DEBIAN: Final = "libc6\t2.36-9+deb12u14\tamd64\npython3.11\t3.11.2-6+deb12u7\tamd64\n"


def write(folder: Path) -> str:
    """Write the bill of materials of this environment."""
    (folder / "packages").write_text(DEBIAN)
    output = folder / "new" / "sbom.json"
    subprocess.run(
        [
            *(sys.executable, "-I", ROOT / "deploy" / "containers" / "sbom.py"),
            *("--bundle", ROOT / "monai_bundle", "--debian-packages", folder / "packages"),
            *("--output", output),
        ],
        check=True,
        cwd=folder,
    )
    return output.read_text()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(tmp_path_factory.mktemp("sbom"))


@pytest.fixture(scope="module")
def bill(text: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(text)
    return read


def of_kind(bill: dict[str, Any], beginning: str) -> set[str]:
    return {
        each["purl"].partition("?")[0]
        for each in [bill["metadata"].get("component", {}), *bill["components"]]
        if each.get("purl", "").startswith(beginning)
    }


def test_it_is_valid_cyclonedx(text: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_it_names_lobar_and_the_weights_by_their_digest(bill: dict[str, Any]) -> None:
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("lobar", VERSION)
    (model,) = [each for each in bill["components"] if each["type"] == "machine-learning-model"]
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert model["hashes"] == [{"alg": "SHA-256", "content": digest}]
    files = {each["name"] for each in model["components"]}
    assert {"models/model.pt", "configs/inference.yaml", "configs/metadata.json"} <= files
    assert "Not a medical device" in model["modelCard"]["considerations"]["useCases"][0]


def test_it_names_the_distributions_that_cyclonedx_finds(
    bill: dict[str, Any], tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs.json"
    command = [
        sys.executable,
        "-m",
        "cyclonedx_py",
        "environment",
        "--short-PURLs",
        "-o",
        str(theirs),
    ]
    subprocess.run([*command, sys.executable], check=True, capture_output=True)
    expected = of_kind(json.loads(theirs.read_text()), "pkg:pypi/")
    assert len(expected) > 100
    lobar = {f"pkg:pypi/lobar@{VERSION}"}
    assert of_kind(bill, "pkg:pypi/") - lobar == expected - lobar


def test_it_names_debians_packages(bill: dict[str, Any]) -> None:
    assert of_kind(bill, "pkg:deb/") == {
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14",
        "pkg:deb/debian/python3.11@3.11.2-6%2Bdeb12u7",
    }


def test_it_says_what_needs_what(bill: dict[str, Any]) -> None:
    needs = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    (lobar,) = [ref for ref in needs if ref.startswith("pkg:pypi/lobar@")]
    assert any(ref.startswith("model:lobar_pneumonia@") for ref in needs[lobar])
    assert any(ref.startswith("pkg:pypi/pynetdicom@") for ref in needs[lobar])
    known = {each["bom-ref"] for each in bill["components"]} | {lobar}
    assert {ref for refs in needs.values() for ref in refs} <= known


def test_equal_contents_give_equal_bytes(text: str, tmp_path: Path) -> None:
    assert write(tmp_path) == text
