"""Read the operating points of a bundle, and those of its populations, from the metadata."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, Final, TypeGuard

from workers.prediction import Model, OperatingPoint

Metadata = Mapping[str, Any]
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")  # a metric's label, and a setting's value
_POINTS: Final = '{NAME: {"threshold": …, "indeterminate": [low, high]}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """How the probabilities of a group of patients are read, and whether they are reported."""

    name: str | None  # None: everybody, for a bundle without populations
    is_reported: bool
    model: Model  # at the population's operating point
    other: OperatingPoint | None  # of another abnormality, if the bundle reads one


def read_point(points: Metadata, name: str) -> OperatingPoint:
    """Read one operating point.

    Raises:
        KeyError, TypeError, ValueError: it is not there, or is invalid.
    """
    low, high = points[name]["indeterminate"]
    return OperatingPoint(
        name=name,
        threshold=float(points[name]["threshold"]),
        indeterminate_low=float(low),
        indeterminate_high=float(high),
    )


def read_populations(
    metadata: Metadata, model: Model, reported: Collection[str]
) -> dict[str | None, Population]:
    """Read the populations of metadata without `population_faults`, at a model's operating point.

    A population takes what it has no values for from the top level.

    Args:
        metadata: of the bundle.
        model: the bundle's, at the operating point to use.
        reported: the names of populations to report although they are not validated.

    Returns:
        The populations by name; for a bundle that has none, everybody under None.
    """
    if not (entries := populations_of(metadata)):
        return {None: _read_population(metadata, model, None, {}, is_reported=True)}
    return {
        name: _read_population(
            metadata, model, name, entry, is_reported=entry["validated"] or name in reported
        )
        for name, entry in entries.items()
    }


def _read_population(
    metadata: Metadata, model: Model, name: str | None, entry: Metadata, *, is_reported: bool
) -> Population:
    at = model.operating_point.name
    points = entry.get("operating_points") or metadata["operating_points"]
    calibration = entry.get("calibration") or metadata["calibration"]
    other = _other_abnormality(metadata, entry)
    return Population(
        name=name,
        is_reported=is_reported,
        model=replace(
            model,
            operating_point=read_point(points, at),
            calibrated=calibration["method"] != "none",
        ),
        other=read_point(other["operating_points"], at) if other else None,
    )


def populations_of(metadata: Metadata) -> Metadata:
    """Return the entries of the metadata's populations by name; empty where there are none."""
    return _mapping(metadata, "populations")


def unknown_choice(metadata: Metadata, reported: Collection[str]) -> str | None:
    """Return what is wrong with the populations that a setting names; None if nothing is."""
    names = populations_of(metadata)
    if not (unknown := [name for name in reported if name not in names]):
        return None
    choices = f"choose of {', '.join(names)}" if names else "it has none"
    return f"has no population {unknown[0]!r}, which bundle.report_populations names: {choices}"


def points_faults(points: object, of: str = "") -> Iterator[str]:
    """Describe each fault of operating points; `of` says whose they are, behind their name."""
    if not isinstance(points, dict) or not points:
        yield f'lacks "operating_points": {_POINTS}{of}: without one no probability can be read'
        return
    for name, point in points.items():
        values = point if isinstance(point, dict) else {}
        named = f"the operating point {name}{of}"
        yield from _point_faults(named, values.get("threshold"), values.get("indeterminate"))


def _point_faults(named: str, threshold: object, band: object) -> Iterator[str]:
    if not is_number(threshold):
        yield f'lacks a "threshold" for {named}'
    match band:
        case [low, high] if is_number(low) and is_number(high):
            if is_number(threshold) and not 0 <= low <= threshold <= high <= 1:
                yield f"has {named.replace('the', 'an', 1)} whose band excludes its threshold"
        case _:
            yield f'lacks "indeterminate": [low, high] for {named}'


def population_faults(metadata: Metadata) -> Iterator[str]:
    """Describe each fault of `other_abnormality` and `populations`, which are optional."""
    if metadata.get("other_abnormality") is not None:
        yield from _other_faults(metadata, {}, "")
    entries = metadata.get("populations", {})
    if not isinstance(entries, dict) or not all(isinstance(x, dict) for x in entries.values()):
        yield 'has "populations" that are not {NAME: {"years": …, "validated": …}}'
        return
    for name, entry in entries.items():
        yield from _entry_faults(metadata, name, entry)
    yield from _range_faults({name: x["years"] for name, x in entries.items() if "years" in x})


def _entry_faults(metadata: Metadata, name: str, entry: Metadata) -> Iterator[str]:
    of = f" of the population {name}"
    if not _NAME.fullmatch(name):
        yield f"has a population {name!r}: name it in up to 32 letters, digits, _ and -"
    if "years" not in entry or not _is_range(entry["years"]):
        yield f'lacks "years": [from, before], [from, null] or null{of}'
    if not isinstance(entry.get("validated"), bool):
        yield f'lacks "validated": true or false{of}: it decides whether findings are reported'
    if "calibration" in entry:
        yield from calibration_faults(entry["calibration"], of)
    if "operating_points" in entry:
        yield from points_faults(entry["operating_points"], of)
        yield from _missing_points(metadata, entry["operating_points"], of)
    if entry.get("other_abnormality") is not None:
        yield from _other_faults(metadata, entry, of)


def calibration_faults(calibration: object, of: str = "") -> Iterator[str]:
    """Describe the fault of a calibration, if it has one."""
    method = calibration.get("method") if isinstance(calibration, dict) else None
    if not isinstance(method, str) or not method.strip():
        yield (
            f'lacks "calibration": {{"method": …}}{of}: name the method, or "none" if the '
            "probabilities are not calibrated"
        )


def _other_faults(metadata: Metadata, entry: Metadata, of: str) -> Iterator[str]:
    of = f" of another abnormality{of}"
    other = _other_abnormality(metadata, entry)
    yield from calibration_faults(other.get("calibration"), of)
    yield from points_faults(other.get("operating_points"), of)
    yield from _missing_points(metadata, other.get("operating_points"), of)


def _missing_points(metadata: Metadata, points: object, of: str) -> Iterator[str]:
    """Describe each operating point of the top level that others lack: one setting names it."""
    known = metadata.get("operating_points")
    if isinstance(known, dict) and isinstance(points, dict) and points:
        for name in known.keys() - points.keys():
            yield f"lacks the operating point {name}{of}: the names are the same everywhere"


def _range_faults(ranges: Mapping[str, object]) -> Iterator[str]:
    """Describe populations that overlap, and whether there is one for an unknown age."""
    if not ranges:
        return
    unknown = [name for name, years in ranges.items() if years is None]
    if len(unknown) != 1:
        yield (
            f'has {len(unknown)} populations with "years": null: one must be there for an age that '
            "is not known"
        )
    known = {name: years for name, years in ranges.items() if _is_bounded(years)}
    for (one, first), (other, second) in combinations(known.items(), 2):
        if max(first[0], second[0]) < min(_end(first), _end(second)):
            yield f"has populations that overlap in years: {one} and {other}"


def _is_range(years: object) -> bool:
    return years is None or (_is_bounded(years) and years[0] < _end(years))


def _is_bounded(years: object) -> TypeGuard[list[Any]]:
    match years:
        case [low, high]:
            return is_number(low) and low >= 0 and (high is None or is_number(high))
    return False


def _end(years: list[Any]) -> float:
    return float("inf") if years[1] is None else float(years[1])


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value of JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _other_abnormality(metadata: Metadata, entry: Metadata) -> Metadata:
    return {**_mapping(metadata, "other_abnormality"), **_mapping(entry, "other_abnormality")}


def _mapping(metadata: Metadata, key: str) -> Metadata:
    found = metadata.get(key)
    return found if isinstance(found, dict) else {}
