"""The tokens of the style sheet: contrast in both themes, and the places of the pages' own rules.

Contrast is computed as WCAG 2.1 defines it (1.4.3 and 1.4.11).
"""

import itertools
import re
from pathlib import Path
from typing import Final

import pytest

CSS: Final = (
    Path(__file__).resolve().parents[4] / "service" / "web" / "static" / "lobar.css"
).read_text()
TEXT: Final = ("ink", "faint", "accent", "good", "wait", "alarm")
BEHIND: Final = ("paper", "raised", "hover")
PLACES: Final = (
    *("worklist", "viewer", "instance", "verdict", "upload", "status", "quality"),
    *("sign-in and users", "audit"),
)


def tokens(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))


DARK: Final = tokens(CSS[: CSS.index(':root[data-theme="light"]')])
LIGHT: Final = tokens(
    CSS[CSS.index(':root[data-theme="light"]') : CSS.index("@media (prefers-color-scheme: light)")]
)


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=["dark", "light"])
def test_every_text_has_the_contrast_of_level_aa(theme: dict[str, str]) -> None:
    for text, behind in itertools.product(TEXT, BEHIND):
        assert contrast(theme[text], theme[behind]) >= 4.5, (text, behind)
    assert contrast(theme["on-accent"], theme["accent"]) >= 4.5


def test_without_scripts_a_light_device_has_the_light_theme() -> None:
    media = CSS[CSS.index("@media (prefers-color-scheme: light)") :]
    assert tokens(media[: media.index("@media (forced-colors")]) == LIGHT


def test_each_page_has_its_place_for_rules_of_its_own_in_order() -> None:
    assert tuple(re.findall(r"^/\* == (.+) == \*/$", CSS, re.MULTILINE)) == PLACES


def test_braces_are_balanced() -> None:
    assert CSS.count("{") == CSS.count("}")
