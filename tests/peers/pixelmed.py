"""Run PixelMed's DicomSRValidator on many reports in one Java process; a separate program.

It reads paths of reports, one per line, and prints a line of JSON with the validator's output for
each. The templates are compiled and the context groups parsed with the first report, so the others
take a fraction of its time.
It needs its own process, because a Java machine takes over the signals of its process.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import jpype

VALIDATOR: Final = "com.pixelmed.validate.DicomSRValidator"
# the templates are XPath expressions larger than Java 17 allows by default
UNLIMITED_XPATH: Final = tuple(
    f"-Djdk.xml.{limit}=0"
    for limit in ("xpathExprGrpLimit", "xpathExprOpLimit", "xpathTotalOpLimit")
)
# compiling to the end costs more than it saves in a process as short as this one
QUICK_START: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")


def parse_context_groups_once(validator: Any) -> None:  # noqa: ANN401 -- Java's
    """Keep the parsed context groups, which takes PixelMed a third of its time for each report."""
    field = validator.getClass().getDeclaredField("ourURIResolver")
    field.setAccessible(True)
    interface = jpype.JClass("javax.xml.transform.URIResolver")
    found = jpype.JObject(field.get(validator), interface)
    builders = jpype.JClass("javax.xml.parsers.DocumentBuilderFactory").newInstance()
    builders.setNamespaceAware(True)
    documents: dict[str, Any] = {}

    def resolve(name: Any, base: Any) -> Any:  # noqa: ANN401 -- Java's
        if str(name) not in documents:
            source = found.resolve(name, base)
            if source.getInputStream() is None:  # what was found in this report: another each time
                return source
            documents[str(name)] = builders.newDocumentBuilder().parse(source.getInputStream())
        return jpype.JClass("javax.xml.transform.dom.DOMSource")(documents[str(name)])

    for name in ("transformerPass1", "transformerPass2"):
        field = validator.getClass().getDeclaredField(name)
        field.setAccessible(True)
        proxy = jpype.JProxy(interface, dict={"resolve": resolve})
        field.get(validator).setURIResolver(proxy)


def main(java: Path, jar: Path) -> None:
    """Validate every path on standard input."""
    machine = java.resolve().parent.parent / "lib" / "server" / "libjvm.so"
    jars = [str(jar), *map(str, jar.parent.glob("*vecmath*.jar"))]
    jpype.startJVM(str(machine), *UNLIMITED_XPATH, *QUICK_START, classpath=jars)
    validator = jpype.JClass(VALIDATOR)()
    parse_context_groups_once(validator)
    for line in sys.stdin:
        said = str(validator.validate(line.rstrip("\n")))
        print(json.dumps(said), flush=True)  # noqa: T201 -- the result is printed


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
