"""The packages that only training and evaluation import."""

from importlib.util import find_spec
from typing import Final

PACKAGES: Final = ("fire", "ignite", "matplotlib", "tqdm")


def require_train_extra() -> None:
    """End the command with one line that says what to install if a package is missing.

    Packages that need them call this when they are imported, so that a command of the bundle and
    a run of MONAI end alike, before anything was computed.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise SystemExit(
            f"training and evaluation need {', '.join(missing)}: pip install 'lobar[train]'"
        )
