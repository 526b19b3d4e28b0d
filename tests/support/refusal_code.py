"""The code with which the bundle's preprocessing refuses an input."""

from collections.abc import Callable
from typing import TypeVar

from scripts.refusal import find_refusal

Given = TypeVar("Given")


def code_of(prepare: Callable[[Given], object], given: Given) -> str | None:
    """Return the code of the refusal, or None; any other exception fails the test."""
    try:
        prepare(given)
    except Exception as error:
        refusal = find_refusal(error)
        if refusal is None:
            raise
        return refusal.code
    return None
