"""Text for terminals."""

import os
from pathlib import Path

from rich.text import Text


def file_name(path: Path) -> Text:
    """Give a file's name for a table as it is: no markup, whatever bytes it is made of."""
    return Text(os.fsencode(path.name).decode(errors="replace"))
