"""A validator of FHIR resources by the definitions of R4: Lantana's `fhir`, run by Node."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from support.system.programs import missing, need_program

ROOT: Final = Path(__file__).resolve().parents[2]
INSTALLED: Final = ROOT / ".cache" / "fhir" / "node_modules"
PROGRAM: Final = Path(__file__).with_name("fhir_validator.mjs")


def fhir_faults(resources: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Return the faults of each resource."""
    node = need_program("node")
    if not INSTALLED.is_dir():
        missing("no FHIR validator here: deploy/setup/fhir.sh fetches it")
    with tempfile.TemporaryDirectory() as folder:  # Node looks for packages beside the program
        program = Path(folder) / PROGRAM.name
        program.write_bytes(PROGRAM.read_bytes())
        (Path(folder) / "node_modules").symlink_to(INSTALLED)
        done = subprocess.run(
            [node, program],
            input=json.dumps(resources),
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
    found: list[list[str]] = json.loads(done.stdout)
    return found
