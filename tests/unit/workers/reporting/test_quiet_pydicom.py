"""What the process changes while outputs are built lasts for as long as a thread needs it."""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest
from pydicom.dataset import Dataset

from workers.reporting.quiet_pydicom import NO_VALIDATION, NO_WARNINGS


def set_an_invalid_value() -> None:
    Dataset().PatientBirthDate = "tomorrow"


def warn() -> None:
    warnings.warn("of a value", stacklevel=1)


@pytest.mark.parametrize(
    ("quiet", "speak"), [(NO_VALIDATION, set_an_invalid_value), (NO_WARNINGS, warn)]
)
def test_a_change_is_undone_by_the_last_thread_to_leave(
    quiet: AbstractContextManager[None], speak: Callable[[], None]
) -> None:
    with pytest.warns(UserWarning, match="of a value|Invalid value"):
        speak()
    with ThreadPoolExecutor(1) as other:
        with quiet:
            other.submit(quiet.__enter__).result()
        speak()  # quiet still: a warning is an error in tests
        other.submit(quiet.__exit__, None, None, None).result()
    with pytest.warns(UserWarning, match="of a value|Invalid value"):
        speak()
