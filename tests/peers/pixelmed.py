"""Run PixelMed's DicomSRValidator on many reports in one Java process; a separate program.

It reads paths of reports, one per line, and prints a line of JSON with the validator's output for
each. The templates are compiled with the first report, so the others take a fraction of its time.
It needs its own process, because a Java machine takes over the signals of its process.
"""

import json
import sys
from pathlib import Path
from typing import Final

import jpype

VALIDATOR: Final = "com.pixelmed.validate.DicomSRValidator"
# the templates are XPath expressions larger than Java 17 allows by default
UNLIMITED_XPATH: Final = tuple(
    f"-Djdk.xml.{limit}=0"
    for limit in ("xpathExprGrpLimit", "xpathExprOpLimit", "xpathTotalOpLimit")
)
# compiling to the end costs more than it saves in a process as short as this one
QUICK_START: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")


def main(java: Path, jar: Path) -> None:
    """Validate every path on standard input."""
    machine = java.resolve().parent.parent / "lib" / "server" / "libjvm.so"
    jars = [str(jar), *map(str, jar.parent.glob("*vecmath*.jar"))]
    jpype.startJVM(str(machine), *UNLIMITED_XPATH, *QUICK_START, classpath=jars)
    validator = jpype.JClass(VALIDATOR)()
    for line in sys.stdin:
        said = str(validator.validate(line.rstrip("\n")))
        print(json.dumps(said), flush=True)  # noqa: T201 -- the result is printed


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
