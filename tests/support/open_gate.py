"""The shipped bundle with an open gate, for drawn pictures, which it rightly refuses."""

import json
import shutil
from pathlib import Path
from typing import Final

BUNDLE: Final = Path(__file__).resolve().parents[2] / "monai_bundle"
OPEN: Final = {"least_in_scope": 0.0, "largest_distance": 1e9}


def bundle_with_open_gate(folder: Path) -> Path:
    """Make a bundle in `folder` that is the shipped one but for the limits of its gate."""
    made = folder / "bundle"
    shutil.copytree(BUNDLE / "configs", made / "configs")
    for name in ("docs", "models", "scripts"):
        (made / name).symlink_to(BUNDLE / name)
    path = made / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["scope"] = metadata["scope"] | OPEN
    path.write_text(json.dumps(metadata))
    return made
