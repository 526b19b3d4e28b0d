"""Restore the shipped bundle's `scripts` as the importable ones after each test."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def the_bundle_that_was_importable_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo that loading a bundle makes its scripts the importable ones."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = {name: sys.modules[name] for name in sys.modules if name.split(".")[0] == "scripts"}
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
        del sys.modules[name]
    sys.modules.update(before)
