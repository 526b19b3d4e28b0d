"""The architecture page names the packages and layers that import-linter holds."""

import re
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[3]
PAGE: Final = (ROOT / "docs" / "architecture.md").read_text()
CONTRACTS: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
LAYERS: Final = {
    str(contract["name"]).partition(":")[0]: [
        sorted(layer.split(" | ")) for layer in contract["layers"]
    ]
    for contract in CONTRACTS
    if contract["type"] == "layers"
}


def layers_on_the_page(package: str) -> list[list[str]]:
    """Return the modules of each layer, top first, in the table of a package."""
    table = PAGE.split(f"| Layer of `{package}` | Content |\n", 1)[1].split("\n\n", 1)[0]
    cells = [row.split(" | ")[0] for row in table.splitlines()[1:]]
    return [sorted(re.findall(r"`([\w.]+)`", cell)) for cell in cells]


def modules(package: str) -> set[str]:
    """Return the dotted names of a package's modules and packages, one level down."""
    children = (ROOT / package).iterdir()
    names = {
        each.stem for each in children if each.suffix == ".py" or (each / "__init__.py").exists()
    }
    return {f"{package}.{name}" for name in names - {"__init__"}}


def test_the_layers_of_the_page_are_the_layers_that_are_enforced() -> None:
    assert LAYERS.keys() == {"service", "workers"}
    for package, layers in LAYERS.items():
        assert layers_on_the_page(package) == layers


def test_every_module_belongs_to_a_layer() -> None:
    for package, layers in LAYERS.items():
        assert {name for layer in layers for name in layer} == modules(package)


def test_no_contract_ignores_indirect_imports() -> None:
    assert not any(contract.get("allow_indirect_imports") for contract in CONTRACTS)


def test_every_contract_is_named_on_the_page() -> None:
    rules = PAGE.split("\n## Packages\n", 1)[1].split("\n## ", 1)[0]
    for contract in CONTRACTS:
        if contract["type"] != "layers":
            assert f"- {contract['name']}." in rules
