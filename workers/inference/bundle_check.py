"""Says all that a bundle lacks, not only what would stop it first: `lobar check` asks it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from monai.bundle.config_parser import ConfigParser
from monai.transforms.compose import Compose

from service.domain.check_result import CheckResult
from service.settings import BundleSettings
from workers.inference.bundle import (
    CONFIGURATION,
    METADATA,
    SECTIONS,
    BundleError,
    describe,
    find_device,
    fit,
    in_one_line,
    parse_configuration,
    read_metadata,
    verified_weights,
)
from workers.inference.bundle_smoke_test import Told, note, trial, wrong
from workers.inference.pipeline import Pipeline
from workers.prediction import Model

_WRONG: Final = 2
_FIGURES: Final = ("sensitivity", "specificity")


def inspect(settings: BundleSettings) -> list[CheckResult]:
    """Say whether a bundle can be used, what it lacks for that, and what is worth knowing of it."""
    found: list[CheckResult] = []
    said = _told(settings.path.resolve(), settings)
    while True:
        try:
            found.append(next(said))
        except StopIteration as end:
            sentence: str = end.value
            break
    if not any(finding.severity == _WRONG for finding in found):
        found.insert(0, CheckResult(subject="bundle", message=sentence))
    return list(dict.fromkeys(found))  # two radiographs may have met the same fault


def _told(bundle: Path, settings: BundleSettings) -> Told[str]:
    metadata = yield from _metadata(bundle)
    model = None
    if metadata is not None:
        model = yield from _description(metadata, settings.operating_point)
    device = yield from _device(settings.device)
    parts = yield from _parts(bundle, metadata or {})
    weights = yield from _weights(bundle, metadata or {})
    pipeline = yield from _assembled(parts, weights, device)
    tried = "" if pipeline is None else (yield from trial(pipeline))
    return "" if model is None else f"{_name(model)} on {device}, {_point(model)}; {tried}"


def _name(model: Model) -> str:
    return f"{model.name} {model.version}"


def _point(model: Model) -> str:
    point = model.operating_point
    return f"operating point {point.name} at {point.threshold:.3f}"


def _metadata(bundle: Path) -> Told[dict[str, Any] | None]:
    try:
        return read_metadata(bundle)
    except BundleError as error:
        yield wrong(str(error))
        return None


def _description(metadata: dict[str, Any], operating_point: str | None) -> Told[Model | None]:
    lacks = [
        *_identity_faults(metadata),
        *_points_faults(metadata.get("operating_points")),
        *_choice_faults(metadata, operating_point),
    ]
    for each in lacks:
        yield wrong(f"{METADATA} {each}")
    yield from _worth_knowing(metadata)
    return None if lacks else describe(metadata, operating_point)


def _identity_faults(metadata: dict[str, Any]) -> Iterator[str]:
    for key in ("name", "version"):
        if not _is_text(metadata.get(key)):
            yield f'lacks "{key}": reports name the model by it'
    for key in ("path", "sha256"):
        if not _is_text(_inside(metadata, "weights", key)):
            yield f'lacks "weights": {{"{key}": …}}: a report must name the weights it rests on'
    if not _is_text(_inside(metadata, "calibration", "method")):
        yield (
            'lacks "calibration": {"method": …}: name the method, or "none" if the probabilities '
            "are not calibrated"
        )


def _points_faults(points: object) -> Iterator[str]:
    if not isinstance(points, dict) or not points:
        yield (
            'lacks "operating_points": {NAME: {"threshold": …, "indeterminate": [low, high]}}: '
            "without one no probability can be read"
        )
        return
    for name, point in points.items():
        threshold = _inside({"point": point}, "point", "threshold")
        band = _inside({"point": point}, "point", "indeterminate")
        if not _is_number(threshold):
            yield f'lacks a "threshold" for the operating point {name}'
        if not (isinstance(band, list) and len(band) == len("ab") and all(map(_is_number, band))):
            yield f'lacks "indeterminate": [low, high] for the operating point {name}'
        elif _is_number(threshold) and not 0 <= band[0] <= threshold <= band[1] <= 1:
            yield f"has for the operating point {name} a band that does not hold its threshold"


def _choice_faults(metadata: dict[str, Any], operating_point: str | None) -> Iterator[str]:
    points = metadata.get("operating_points")
    names = points if isinstance(points, dict) else {}
    chosen = operating_point or metadata.get("default_operating_point")
    if chosen is None:
        yield 'lacks "default_operating_point", and bundle.operating_point is not set'
    elif chosen not in names:
        source = "bundle.operating_point" if operating_point else "default_operating_point"
        yield f"has no operating point {chosen!r}, which {source} names: {_choices(names)}"


def _choices(names: dict[str, Any]) -> str:
    return f"choose one of {', '.join(names)}" if names else "it has none"


def _worth_knowing(metadata: dict[str, Any]) -> Iterator[CheckResult]:
    if _inside(metadata, "calibration", "method") == "none":
        yield note("its probabilities are not calibrated, and its reports say so")
    points = metadata.get("operating_points")
    for name, point in points.items() if isinstance(points, dict) else ():
        missing = [key for key in _FIGURES if not _is_number(_inside({"_": point}, "_", key))]
        if missing:
            yield note(f"its operating point {name} states no {' and no '.join(missing)}")
    if not _is_text(metadata.get("intended_use")):
        yield note(f'{METADATA} has no "intended_use": nobody can tell what the model is for')


def _device(name: str) -> Told[torch.device]:
    try:
        return find_device(name)
    except BundleError as error:
        yield wrong(str(error))
        return torch.device("cpu")  # so that the rest is tried all the same


def _parts(bundle: Path, metadata: dict[str, Any]) -> Told[dict[str, Any]]:
    """Make each section of the configuration by itself; give those that could be made."""
    try:
        config = parse_configuration(bundle, metadata)
    except Exception as error:  # noqa: BLE001 -- a configuration is code: it may raise anything
        yield wrong(f"{CONFIGURATION} cannot be read ({in_one_line(error)})")
        return {}
    parts = {}
    for key in SECTIONS:
        if key not in config:
            yield wrong(f"{CONFIGURATION} lacks {key}")
            continue
        made = yield from _made(config, key)
        if made is not None:
            parts[key] = made
    return parts


def _made(config: ConfigParser, key: str) -> Told[Any | None]:
    try:
        made = config.get_parsed_content(key)
    except Exception as error:  # noqa: BLE001 -- as above
        yield wrong(f"{CONFIGURATION}: {key} cannot be made ({in_one_line(error)})")
        return None
    if key == "network_def" and not isinstance(made, torch.nn.Module):
        yield wrong(f"{CONFIGURATION}: network_def makes no torch.nn.Module")
    elif key == "preprocessing" and not isinstance(made, Compose):
        yield wrong(
            f"{CONFIGURATION}: preprocessing is no Compose; let it be one whose first transform "
            "opens the radiograph"
        )
    elif not callable(made):
        yield wrong(f"{CONFIGURATION}: {key} makes nothing that can be called")
    else:
        return made
    return None


def _weights(bundle: Path, metadata: dict[str, Any]) -> Told[bytes | None]:
    if not all(_is_text(_inside(metadata, "weights", key)) for key in ("path", "sha256")):
        return None  # told with the description
    try:
        return verified_weights(bundle, metadata)
    except BundleError as error:
        yield wrong(str(error))
        return None


def _assembled(
    parts: dict[str, Any], weights: bytes | None, device: torch.device
) -> Told[Pipeline | None]:
    network = parts.get("network_def")
    if network is None or weights is None:
        return None
    try:
        fit(network, weights)
    except Exception as error:  # noqa: BLE001 -- torch raises many things over a strange file
        yield wrong(
            f"the weights do not load with weights_only=True or do not fit network_def "
            f"({in_one_line(error)}): save network.state_dict() of that very network"
        )
        return None
    if len(parts) < len(SECTIONS):
        return None
    return Pipeline(
        preprocessing=parts["preprocessing"],
        network=network.to(device).eval(),
        inferer=parts["inferer"],
        postprocessing=parts["postprocessing"],
        device=device,
    )


def _inside(metadata: dict[str, Any], outer: str, inner: str) -> object:
    found = metadata.get(outer)
    return found.get(inner) if isinstance(found, dict) else None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
