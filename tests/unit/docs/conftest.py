"""What the tests of the pages share."""

import os

import pytest


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away whatever is configured where the tests run."""
    for name in list(os.environ):  # noqa: TID251 -- to empty it
        if name.startswith("LOBAR_"):
            monkeypatch.delenv(name)
