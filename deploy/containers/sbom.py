"""Write the bill of materials of an image: CycloneDX 1.6 in JSON, with the weights.

    /opt/lobar/bin/python -I deploy/containers/sbom.py --output lobar.cdx.json

It lists the distributions of the environment that runs it, Debian's packages by a table of
dpkg-query, and the bundle's model with the SHA-256 of its files. Equal contents give equal bytes.
"""

import argparse
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = "lobar"
_DEBIAN: Final = "12"  # of the Containerfile
Component = dict[str, Any]
# what people write in place of an identifier of SPDX
_IDENTIFIERS: Final[Mapping[str, str]] = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd license": "BSD-3-Clause",
    "mit license": "MIT",
    "isc license (iscl)": "ISC",
    "python software foundation license": "PSF-2.0",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
}
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9.+-]+")


def bill_of_materials(bundle: Path, debian_packages: Path | None) -> dict[str, Any]:
    """Return the bill of materials of this environment, a bundle and Debian's packages.

    Args:
        bundle: The folder of the MONAI bundle.
        debian_packages: A table of name, version and architecture, tab-separated, if any.

    Raises:
        OSError, ValueError: The bundle or the table cannot be read.
    """
    installed = {canonicalize_name(each.name): each for each in distributions()}
    root = _python_component(installed.pop(ROOT), kind="application")
    model = _model_component(bundle)
    python = [_python_component(each) for _, each in sorted(installed.items())]
    debian = list(_debian_components(debian_packages))
    components = [model, *python, *debian]
    references = {
        name: _reference("pypi", each.name, each.version)
        for name, each in {**installed, ROOT: distribution(ROOT)}.items()
    }
    dependencies = [
        {"ref": references[name], "dependsOn": sorted(_needed(each, references))}
        for name, each in sorted({**installed, ROOT: distribution(ROOT)}.items())
    ]
    for each in dependencies:
        if each["ref"] == root["bom-ref"]:
            each["dependsOn"].append(model["bom-ref"])
    content = {"components": components, "dependencies": dependencies, "root": root}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, json.dumps(content, sort_keys=True))}",
        "version": 1,
        "metadata": {"component": root},
        "components": components,
        "dependencies": dependencies,
    }


def _reference(kind: str, name: str, version: str) -> str:
    """Return a package URL."""
    name = name.lower().replace("_", "-") if kind == "pypi" else name  # as that type of URL has it
    return f"pkg:{kind}/{quote(name, safe='/')}@{quote(version, safe='')}"


def _python_component(installed: Distribution, kind: str = "library") -> Component:
    reference = _reference("pypi", installed.name, installed.version)
    component: Component = {
        "type": kind,
        "bom-ref": reference,
        "name": installed.name,
        "version": installed.version,
        "purl": reference,
    }
    licence = _licence(installed)
    return component | ({"licenses": [licence]} if licence else {})


def _licence(installed: Distribution) -> dict[str, Any] | None:
    """Return what a distribution says of its licence; the first of what it has, else nothing."""
    metadata = installed.metadata
    if expression := metadata.get("License-Expression"):
        return {"expression": expression}
    classifiers = [
        each.rpartition(" :: ")[2]
        for each in metadata.get_all("Classifier") or []
        if each.startswith("License :: ") and not each.endswith("OSI Approved")
    ]
    stated = [*classifiers, (metadata.get("License") or "").strip()]
    for name in stated:
        if name and "\n" not in name:
            return {"license": _named(name)}
    return None


def _named(name: str) -> dict[str, str]:
    return {"name": _IDENTIFIERS.get(name.lower(), name)}


def _needed(installed: Distribution, references: Mapping[str, str]) -> set[str]:
    """Return the references of what a distribution requires here, without its extras."""
    needed = map(Requirement, installed.requires or ())
    return {
        references[name]
        for each in needed
        if (each.marker is None or each.marker.evaluate({"extra": ""}))
        and (name := canonicalize_name(each.name)) in references
    }


def _debian_components(table: Path | None) -> Iterator[Component]:
    for line in table.read_text().splitlines() if table else ():
        name, version, architecture = line.split("\t")
        reference = _reference("deb", f"debian/{name}", version)
        reference += f"?arch={architecture}&distro=debian-{_DEBIAN}"
        yield {
            "type": "library",
            "bom-ref": reference,
            "name": name,
            "version": version,
            "purl": reference,
        }


def _model_component(bundle: Path) -> Component:
    """Return the model of a bundle: its name and version, its licence and its files."""
    described = json.loads((bundle / "configs" / "metadata.json").read_text())
    name, version = described["name"], described["version"]
    weights = sorted((bundle / "models").iterdir())
    files = [*weights, *sorted((bundle / "configs").iterdir())]
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{name}@{version}",
        "name": name,
        "version": version,
        "description": described["description"],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "copyright": described["copyright"],
        "hashes": [_hash(weights[0])],
        "modelCard": {
            "modelParameters": {
                "task": described["task"],
                "datasets": [{"type": "dataset", "contents": {"properties": _sources(described)}}],
            },
            "considerations": {"useCases": [described["intended_use"]]},
        },
        "components": [
            {
                "type": "file",
                "bom-ref": f"model:{name}@{version}#{each.relative_to(bundle)}",
                "name": str(each.relative_to(bundle)),
                "hashes": [_hash(each)],
            }
            for each in files
        ],
    }


def _sources(described: Mapping[str, str]) -> list[dict[str, str]]:
    sources = [each.strip() for each in described["data_source"].split(";")]
    return [{"name": "source", "value": each} for each in sources if each]


def _hash(file: Path) -> dict[str, str]:
    with file.open("rb") as content:
        return {"alg": "SHA-256", "content": hashlib.file_digest(content, "sha256").hexdigest()}


def main() -> None:
    """Write the file that the command line asks for."""
    parser = argparse.ArgumentParser(description="the bill of materials of an image, CycloneDX")
    parser.add_argument("--bundle", type=Path, default=Path("monai_bundle"))
    parser.add_argument("--debian-packages", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    written = bill_of_materials(options.bundle, options.debian_packages)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
