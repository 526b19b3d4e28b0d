"""PixelMed's DicomSRValidator in one Java for many reports; a program of its own.

It reads paths of reports, one a line, and answers each with a line of JSON: what was said of it.
The templates are compiled when the first report comes, so the others cost a fraction of it. Run in
a process of its own, because a Java machine takes over the signals of the process it lives in.
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


def main(java: Path, jar: Path) -> None:
    """Answer every path on standard input."""
    machine = java.resolve().parent.parent / "lib" / "server" / "libjvm.so"
    jars = [str(jar), *map(str, jar.parent.glob("*vecmath*.jar"))]
    jpype.startJVM(str(machine), *UNLIMITED_XPATH, "-XX:+UseSerialGC", classpath=jars)
    validator = jpype.JClass(VALIDATOR)()
    for line in sys.stdin:
        said = str(validator.validate(line.rstrip("\n")))
        print(json.dumps(said), flush=True)  # noqa: T201 -- it answers by printing


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
