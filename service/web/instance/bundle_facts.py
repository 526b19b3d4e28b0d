"""Read what the configured bundle says of itself, without loading its model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_LARGEST_BYTES: Final = 1 << 20
METADATA: Final = "configs/metadata.json"
MODEL_CARD: Final = "docs/README.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFacts:
    """What the metadata of a bundle says; blank where it says nothing."""

    model: str  # name and version, as jobs have them
    people: str = ""  # of one population
    is_validated: bool | None = None  # for these people
    performance: str = ""  # a sentence: how often it is right, at one operating point


def bundle_facts(
    bundle: Path, population: str | None, operating_point: str | None = None
) -> BundleFacts | None:
    """Return what a bundle says of itself and of a population; None where it cannot be read."""
    try:
        metadata = json.loads(_read(bundle / METADATA))
    except (OSError, ValueError):
        return None
    if not isinstance(metadata, dict):
        return None
    model = f"{metadata.get('name', '')} {metadata.get('version', '')}"
    known = _member(metadata.get("populations"), population)
    if not isinstance(known, dict):
        return BundleFacts(model=model)
    validated = known.get("validated")
    people = _people(str(population))
    return BundleFacts(
        model=model,
        people=people,
        is_validated=validated if isinstance(validated, bool) else None,
        performance=_performance(_member(known.get("operating_points"), operating_point), people),
    )


def model_card(bundle: Path) -> str | None:
    """Return the model card of a bundle, which is Markdown; None where it has none."""
    try:
        return _read(bundle / MODEL_CARD)
    except (OSError, ValueError):
        return None


def _member(mapping: Any, name: str | None) -> Any:  # noqa: ANN401 -- of a JSON file
    return mapping.get(name) if isinstance(mapping, dict) else None


def _people(population: str) -> str:
    return "patients of unknown age" if population == "unknown" else population.replace("_", " ")


def _performance(point: Any, people: str) -> str:  # noqa: ANN401 -- of a JSON file
    """Write how often it is right as counts of a hundred films; blank where that is unknown."""
    called, spared = (_share(_member(point, name)) for name in ("sensitivity", "specificity"))
    if called is None or spared is None:
        return ""
    false = 100 - round(100 * spared)
    right = round(100 * called)
    return (
        f"Of 100 films of {people} without pneumonia {false} {_is(false)} called present; "
        f"of 100 with it {right} {_is(right)}, counted where the operating point was chosen."
    )


def _share(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value <= 1 else None


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _read(path: Path) -> str:
    """Read a file of a bundle.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no UTF-8, or larger than any such file.
    """
    with path.open("rb") as stream:
        content = stream.read(_LARGEST_BYTES + 1)
    if len(content) > _LARGEST_BYTES:
        raise ValueError("larger than any such file")
    return content.decode()
