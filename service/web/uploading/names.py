"""Show the name of a file that another machine chose."""

from typing import Final

_LONGEST: Final = 200


def printable(name: str) -> str:
    """Return a name without what is not printable, such as what turns the order of letters.

    Of a long one, the end: it tells more files of one folder apart.
    """
    kept = name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in kept
    )
