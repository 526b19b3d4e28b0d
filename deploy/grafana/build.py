"""Write the dashboards of Grafana: `make dashboards`.

The files are committed, and a test compares them with what this program writes.
"""

import argparse
import json
from pathlib import Path
from typing import Final

from destinations import DESTINATIONS
from model import MODEL
from overview import OVERVIEW
from panels import Dashboard
from pipeline import PIPELINE
from resources import RESOURCES

FOLDER: Final = Path(__file__).resolve().parent / "dashboards"
DASHBOARDS: Final = (OVERVIEW, PIPELINE, DESTINATIONS, MODEL, RESOURCES)


def write(dashboard: Dashboard, folder: Path) -> None:
    """Write a dashboard into a folder."""
    text = json.dumps(dashboard.json(), indent=1, ensure_ascii=False)
    (folder / f"{dashboard.name}.json").write_text(text + "\n")


def main() -> None:
    """Write every dashboard."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where to write them")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for each in DASHBOARDS:
        write(each, folder)


if __name__ == "__main__":
    main()
