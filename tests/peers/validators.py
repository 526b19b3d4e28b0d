"""Programs that check whether objects are valid DICOM."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
from support.system.programs import missing, need_program

PIXELMED_JAR: Final = Path("/usr/share/java/pixelmed.jar")  # where Debian's libpixelmed-java has it
PIXELMED_PROGRAM: Final = Path(__file__).with_name("pixelmed.py")


class PixelMed:
    """PixelMed's DicomSRValidator, in one Java for a whole run: starting one takes seconds."""

    def __init__(self) -> None:
        java = need_program("java")
        if not PIXELMED_JAR.is_file():
            missing(f"no {PIXELMED_JAR}: install the Debian package pixelmed-apps")
        self._process = subprocess.Popen(
            [sys.executable, PIXELMED_PROGRAM, java, PIXELMED_JAR],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, paths: Sequence[Path]) -> dict[Path, str]:
        """Return the validator's output per report; "Error:" lines are the faults."""
        return {path: self._output_for(path) for path in paths}

    def _output_for(self, path: Path) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(path, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, f"Java ended with status {self._process.wait()}"
        return str(json.loads(line))

    def stop(self) -> None:
        """End the process, which has nothing left to read."""
        self._process.communicate()


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


@pytest.fixture(scope="session")
def pixelmed_sr_validator() -> Iterator[PixelMed]:
    """PixelMed's validator, called with the paths of reports. Mark the test `pixelmed`."""
    validator = PixelMed()
    yield validator
    validator.stop()


@pytest.fixture(name="dciodvfy", scope="session")
def _dciodvfy() -> Callable[[Path], str]:
    return dciodvfy
