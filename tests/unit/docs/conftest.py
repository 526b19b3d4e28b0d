"""Fixtures shared by the tests of the pages."""

import os

import pytest


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of the environment that the tests run in."""
    for name in list(os.environ):  # noqa: TID251 -- to empty it
        if name.startswith("LOBAR_"):
            monkeypatch.delenv(name)
