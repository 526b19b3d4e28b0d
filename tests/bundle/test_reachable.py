"""Analysing a radiograph needs only the packages that the documentation names for it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SAMPLES = Path(__file__).resolve().parents[2] / "service" / "demo" / "samples"
PACKAGES = ("preprocessing", "network", "postprocessing")
MODULES = ("inference", "refusal", "checksum")
PROGRAM = """
import sys
from monai.bundle import run
run(config_file="configs/inference.yaml", input=sys.argv[1], output="/dev/null")
print("loaded", *sorted(name for name in sys.modules if name.partition(".")[0] == "scripts"))
"""


def test_inference_uses_all_of_its_own_packages_and_none_of_the_others(bundle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(SAMPLES / "dx_jpeg2000.dcm")],
        cwd=bundle,
        capture_output=True,
        text=True,
        check=True,
    )
    [line] = [line for line in done.stdout.splitlines() if line.startswith("loaded ")]
    files = [
        *(bundle / "scripts" / f"{name}.py" for name in MODULES),
        *(path for name in PACKAGES for path in (bundle / "scripts" / name).glob("*.py")),
    ]
    expected = {
        ".".join(path.relative_to(bundle).with_suffix("").parts).removesuffix(".__init__")
        for path in files
    }
    assert set(line.split()[1:]) == expected | {"scripts"}
