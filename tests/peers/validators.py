"""Programs that judge whether what we write is valid DICOM."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest

from peers.programs import missing, need_program

PIXELMED_JAR: Final = Path("/usr/share/java/pixelmed.jar")  # where Debian's libpixelmed-java has it
PIXELMED_SR_VALIDATOR: Final = "com.pixelmed.validate.DicomSRValidator"
PIXELMED_SECONDS: Final = 120
# the templates are compiled anew for each report, so to compile them well does not pay
QUICK_START: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms512m")
# the templates are XPath expressions larger than Java 17 allows by default
UNLIMITED_XPATH: Final = tuple(
    f"-Djdk.xml.{limit}=0"
    for limit in ("xpathExprGrpLimit", "xpathExprOpLimit", "xpathTotalOpLimit")
)


def pixelmed_sr_validator(paths: Sequence[Path]) -> dict[Path, str]:
    """What PixelMed's DicomSRValidator says of each report; "Error:" lines are the faults."""
    java = need_program("java")
    if not PIXELMED_JAR.is_file():
        missing(f"no {PIXELMED_JAR}: install the Debian package pixelmed-apps")
    said = {}
    for path in paths:
        done = subprocess.run(
            [
                java,
                *QUICK_START,
                *UNLIMITED_XPATH,
                "-cp",
                PIXELMED_JAR,
                PIXELMED_SR_VALIDATOR,
                path,
            ],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PIXELMED_SECONDS,
        )
        said[path] = done.stdout
    return said


def dciodvfy(path: Path) -> str:
    """What dciodvfy says of a DICOM file; lines beginning "Error" are the faults."""
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
