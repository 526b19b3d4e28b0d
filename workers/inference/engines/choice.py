"""Choose the engine of a bundle: by what was recorded, without importing torch."""

from pathlib import Path
from typing import Final

from service.settings import Settings
from workers.inference.bundle_error import BundleError
from workers.inference.engines.artefact import OPENVINO, TORCH, Artefact, find, identify
from workers.inference.engines.machine import has_gpu

MOST_NUMBERS: Final = 2000  # of outputs for one radiograph that a decoder may be sent


def folder_of(settings: Settings) -> Path:
    """Return the folder in which records and exported networks are kept."""
    return settings.bundle.engines or settings.state_dir / "engines"


def may_leave_torch(settings: Settings) -> bool:
    """Return whether another engine may be used: the settings allow it, and there is no GPU."""
    device = settings.bundle.device
    on_cpu = device == "cpu" or (device == "auto" and not has_gpu())
    return on_cpu and settings.bundle.engine != TORCH


def recorded(settings: Settings) -> Artefact | None:
    """Return what is known of the bundle on this machine; None if nothing is."""
    try:
        return find(folder_of(settings), identify(settings.bundle.path))
    except BundleError:  # said by those who load it
        return None


def usable(settings: Settings) -> Artefact | None:
    """Return the exported network to use in the place of torch; None if torch is to be used."""
    artefact = recorded(settings) if may_leave_torch(settings) else None
    if artefact is None or artefact.record.sha256 is None:
        return None
    wanted = OPENVINO in {settings.bundle.engine, artefact.record.engine}
    return artefact if wanted else None


def needs_no_torch(artefact: Artefact) -> bool:
    """Return whether a decoder can do the postprocessing: whether the outputs are small enough."""
    return artefact.record.numbers <= MOST_NUMBERS
