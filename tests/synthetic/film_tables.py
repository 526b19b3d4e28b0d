"""Tables of films of a synthetic release: children and adults of several sources, several heads."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FOLDS = [f"fold-{k}" for k in range(5)]
LEFT_OUT = "rsna2018+nlm_shenzhen+nlm_montgomery"
# By source: the categories and how many films of each there are in the folds together.
SOURCES: Mapping[str, Mapping[str, int]] = {
    "pediatric": {"opacity": 300, "normal": 150},
    "rsna2018": {"opacity": 120, "other": 150, "normal": 150},
    "nlm_shenzhen": {"normal": 60, "abnormal": 60},
    "nlm_montgomery": {"normal": 40, "abnormal": 30},
}
HANNOVER: Mapping[str, Mapping[str, int]] = {"adult_covid": {"opacity": 60}}
# What each category shows of an opacity and of another abnormality, before the skill of a network.
_OPACITY = {"opacity": 1.0, "other": -0.35, "normal": -1.0, "abnormal": 0.0}
_OTHER = {"opacity": 0.2, "other": 1.0, "normal": -1.0, "abnormal": 0.8}


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network that finds so much of what a film shows, and adds so much chance of its own."""

    adults: float = 3.0
    children: float = 4.0
    chance: float = 1.0
    seed: int = 1
    has_other: bool = True


def films(
    sources: Mapping[str, Mapping[str, int]], share: float = 1.0, first: int = 0
) -> Iterator[dict[str, Any]]:
    """Yield films without predictions; the same `first` gives the same names."""
    number = first
    for source, categories in sources.items():
        for category, count in categories.items():
            for _ in range(round(share * count)):
                number += 1
                adult = source != "pediatric"
                yield {
                    "image": f"{number:016x}",
                    "patient": f"p{number // 2:06}",
                    "source": source,
                    "category": category,
                    "kind": "pneumonia" if category == "opacity" else category,
                    "age_group": ("18-39", "40-64")[number % 2] if adult else "1-5",
                    "view": ("AP", "PA")[number // 2 % 2] if source == "rsna2018" else "",
                    "sex": ("F", "M")[number % 2] if source == "rsna2018" else "",
                }


def predicted(
    given: Iterator[dict[str, Any]], network: Network, *, parts: list[str], held_out: str = ""
) -> list[dict[str, Any]]:
    """Return the lines of a table; a patient is in one part, and "fold" names what was held out."""
    chance = np.random.default_rng(network.seed)
    lines = []
    for film in given:
        shown = np.random.default_rng(int(film["image"], 16))  # the film's own, for all networks
        skill = network.adults if film["source"] != "pediatric" else network.children
        own = shown.normal(0, 1, 2)
        noise = network.chance * chance.normal(0, 1, 2)
        part = parts[int(film["patient"][1:]) % len(parts)]
        opacity = skill * _OPACITY[film["category"]] + own[0] + noise[0]
        other = skill * _OTHER[film["category"]] + own[1] + noise[1]
        lines.append(
            {
                **film,
                "part": part,
                "held_out": part if held_out == "fold" else held_out,
                "opacity": f"{opacity:.5f}",
                "other": f"{other:.5f}" if network.has_other else "",
                "normal": "",
            }
        )
    return lines


def release(adults: float = 3.0, *, has_other: bool = True) -> dict[str, list[dict[str, Any]]]:
    """Return the tables of a release by name; the ensemble has less chance than its members."""
    member = Network(adults=adults, has_other=has_other)
    ensemble = Network(adults=adults, chance=0.3, seed=2, has_other=has_other)
    validation = 0.2, 100_000
    members = [
        line
        for fold, name in enumerate(FOLDS)
        for line in predicted(
            films(SOURCES, *validation),
            Network(adults=adults, seed=10 + fold, has_other=has_other),
            parts=["validation"],
            held_out=name,
        )
    ]
    adult = (film for film in films(SOURCES) if film["source"] != "pediatric")
    return {
        "cross_validation": predicted(films(SOURCES), member, parts=FOLDS, held_out="fold"),
        "members": members,
        "out_of_source": predicted(adult, member, parts=FOLDS, held_out=LEFT_OUT),
        "validation": predicted(films(SOURCES, *validation), ensemble, parts=["validation"]),
        "measuring": predicted(films(HANNOVER, 1, 200_000), ensemble, parts=["measuring"]),
        "test": predicted(
            films({"pediatric": SOURCES["pediatric"]}, 0.5, 300_000), ensemble, parts=["test"]
        ),
        "rsna_test": predicted(
            films({"rsna2018": SOURCES["rsna2018"]}, 0.5, 400_000), ensemble, parts=["rsna-test"]
        ),
    }
