"""Programs that check whether objects are valid DICOM."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest
from support.system.programs import missing, need_program

PIXELMED_JAR: Final = Path("/usr/share/java/pixelmed.jar")  # where Debian's libpixelmed-java has it
PIXELMED_PROGRAM: Final = Path(__file__).with_name("pixelmed.py")
PIXELMED_SECONDS: Final = 280


def pixelmed_sr_validator(paths: Sequence[Path]) -> dict[Path, str]:
    """Return PixelMed's DicomSRValidator output per report; "Error:" lines are the faults."""
    java = need_program("java")
    if not PIXELMED_JAR.is_file():
        missing(f"no {PIXELMED_JAR}: install the Debian package pixelmed-apps")
    done = subprocess.run(
        [sys.executable, PIXELMED_PROGRAM, java, PIXELMED_JAR],
        input="".join(f"{path}\n" for path in paths),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=PIXELMED_SECONDS,
    )
    return dict(zip(paths, map(json.loads, done.stdout.splitlines()), strict=True))


def dciodvfy(path: Path) -> str:
    """Return the output of dciodvfy for a DICOM file; lines beginning "Error" are the faults."""
    done = subprocess.run(
        [need_program("dciodvfy"), "-new", path],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",  # it repeats values in the instance's own character set
        timeout=60,
    )
    return done.stdout


@pytest.fixture(name="pixelmed_sr_validator", scope="session")
def _pixelmed_sr_validator() -> Callable[[Sequence[Path]], dict[Path, str]]:
    return pixelmed_sr_validator


@pytest.fixture(name="dciodvfy", scope="session")
def _dciodvfy() -> Callable[[Path], str]:
    return dciodvfy
