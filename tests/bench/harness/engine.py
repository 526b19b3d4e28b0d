"""The engine of the bundle, found before a measurement: a service looks for it when it is idle.

    PYTHONPATH=tests:monai_bundle .venv/bin/python -m bench.harness.engine BUNDLE STATE ENGINES

A version of Lobar without engines is measured as it is.
"""

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from service.settings import BundleSettings, Settings

RUN: Final = "lobar-bench-run-"  # the temporary folder of a run of all parts begins so


def has_engines() -> bool:
    """Whether this version of Lobar has engines other than torch."""
    return "engines" in BundleSettings.model_fields


def engines_folder(folder: Path) -> Path:
    """Return where engines are kept: once for a run of all parts, else in `folder`."""
    shared = Path(tempfile.gettempdir())
    return (shared if shared.name.startswith(RUN) else folder) / "engines"


def find_engine(bundle: Path, folder: Path) -> dict[str, str]:
    """Find the engine in a process of its own, and return the settings that let a service use it.

    Raises:
        CalledProcessError: none can be found.
    """
    if not has_engines():
        return {}
    engines = engines_folder(folder)
    module = [sys.executable, "-m", "bench.harness.engine"]
    subprocess.run([*module, str(bundle), str(folder / "state"), str(engines)], check=True)
    return {"LOBAR_BUNDLE__ENGINES": str(engines)}


def artefact_of(bundle: Path, state: Path, engines: Path) -> Any:  # noqa: ANN401 -- of a version that has them
    """Return the exported network of a bundle; export and measure it if that was not done yet."""
    make = importlib.import_module("workers.inference.engines.make").make
    named: dict[str, Any] = {"path": bundle, "engines": engines}
    return make(Settings(state_dir=state, bundle=BundleSettings(**named)))


if __name__ == "__main__":
    artefact_of(*map(Path, sys.argv[1:4]))
