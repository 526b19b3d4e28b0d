"""Import OpenVINO without what would report that it was imported.

`import openvino` imports its converter, and that sends an event to a server of its makers, with an
identifier that it keeps in the home directory. Nothing of this service may go to anybody unasked:
both packages are hidden before the import; neither is needed.
"""

import sys
from typing import Final

HIDDEN: Final = ("openvino_telemetry", "openvino.tools.ovc")

for name in HIDDEN:
    sys.modules.setdefault(name, None)  # type: ignore[arg-type] # Python refuses to import it

import openvino  # noqa: E402 -- see above

__all__ = ["openvino"]
