"""Analysing a radiograph needs only the packages that the documentation names for it."""

from pathlib import Path

import pytest
from support.module_process import run_module

pytestmark = pytest.mark.slow

SAMPLES = Path(__file__).resolve().parents[2] / "service" / "demo" / "samples"
PACKAGES = ("preprocessing", "network", "postprocessing")
MODULES = ("inference", "refusal", "checksum")
PROGRAM = """
import os, sys
bundle, sample = sys.argv[1:]
os.chdir(bundle)
sys.path[0] = bundle
from monai.bundle import run
run(config_file="configs/inference.yaml", input=sample, output="/dev/null")
print("loaded", *sorted(name for name in sys.modules if name.partition(".")[0] == "scripts"))
"""


def test_inference_uses_all_of_its_own_packages_and_none_of_the_others(
    bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    done = run_module(tmp_path, "program", str(bundle), str(SAMPLES / "dx_jpeg2000.dcm"))
    assert done.returncode == 0, done.stderr
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
