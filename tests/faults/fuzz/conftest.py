"""The length of a run of the fuzzers."""

import pytest
from support.fuzz.length import Length


@pytest.fixture(scope="session")
def length() -> Length:
    return Length.of_environment()
