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
    intended_use: str
    population: str  # what is known of the patients of one population


def bundle_facts(bundle: Path, population: str | None) -> BundleFacts | None:
    """Return what a bundle says of itself and of a population; None where it cannot be read."""
    try:
        metadata = json.loads(_read(bundle / METADATA))
    except (OSError, ValueError):
        return None
    if not isinstance(metadata, dict):
        return None
    return BundleFacts(
        model=f"{metadata.get('name', '')} {metadata.get('version', '')}",
        intended_use=_text(metadata.get("intended_use")),
        population=_known_of(metadata.get("populations"), population),
    )


def model_card(bundle: Path) -> str | None:
    """Return the model card of a bundle, which is Markdown; None where it has none."""
    try:
        return _read(bundle / MODEL_CARD)
    except (OSError, ValueError):
        return None


def _known_of(populations: Any, name: str | None) -> str:  # noqa: ANN401 -- of a JSON file
    if not isinstance(populations, dict) or not isinstance(populations.get(name), dict):
        return ""
    return _text(populations[name].get("reason"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


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
