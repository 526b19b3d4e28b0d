"""Text for the terminal."""

import os
from pathlib import Path

from rich.text import Text


def file_name(path: Path) -> Text:
    """Return a file's name as plain text for a table: no markup, undecodable bytes replaced."""
    return Text(os.fsencode(path.name).decode(errors="replace"))
