"""Check a bundle for `lobar check`: all its faults, not only the first that would stop it."""

from collections.abc import Collection, Iterator
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
from workers.inference.bundle_smoke_test import Checks, error_result, note_result, run_smoke_test
from workers.inference.operating_points import (
    calibration_faults,
    is_number,
    points_faults,
    population_faults,
    populations_of,
    unknown_choice,
)
from workers.inference.pipeline import Pipeline
from workers.prediction import Model

_ERROR: Final = 2
_FIGURES: Final = ("sensitivity", "specificity")


def inspect(settings: BundleSettings) -> list[CheckResult]:
    """Check whether a bundle can be used.

    Returns:
        A summary if it can, else every error; and notes on what it does without.
    """
    summary = ""

    def collect() -> Iterator[CheckResult]:
        nonlocal summary
        summary = yield from _check(settings.path.resolve(), settings)

    results = list(dict.fromkeys(collect()))  # two radiographs may meet the same fault
    if not any(each.severity == _ERROR for each in results):
        results.insert(0, CheckResult(subject="bundle", message=summary))
    return results


def _check(bundle: Path, settings: BundleSettings) -> Checks[str]:
    """Check every part of a bundle and return a summary."""
    metadata = yield from _metadata(bundle)
    model = None
    if metadata is not None:
        model = yield from _description(metadata, settings)
    device = yield from _device(settings.device)
    parts = yield from _parts(bundle, metadata or {})
    weights = yield from _weights(bundle, metadata or {})
    pipeline = yield from _assembled(parts, weights, device)
    described = metadata if metadata and model else {}  # else its faults are reported already
    smoke_test = "" if pipeline is None else (yield from run_smoke_test(pipeline, described))
    if model is None:
        return ""
    left_out = _left_out(described, settings.report_populations)
    return f"{_name(model)} on {device}, {_point(model)}; {smoke_test}{left_out}"


def _name(model: Model) -> str:
    return f"{model.name} {model.version}"


def _point(model: Model) -> str:
    point = model.operating_point
    return f"operating point {point.name} at {point.threshold:.3f}"


def _metadata(bundle: Path) -> Checks[dict[str, Any] | None]:
    try:
        return read_metadata(bundle)
    except BundleError as error:
        yield error_result(str(error))
        return None


def _description(metadata: dict[str, Any], settings: BundleSettings) -> Checks[Model | None]:
    faults = [
        *_identity_faults(metadata),
        *points_faults(metadata.get("operating_points")),
        *_choice_faults(metadata, settings.operating_point),
        *population_faults(metadata),
    ]
    if fault := unknown_choice(metadata, settings.report_populations):
        faults.append(fault)
    for each in faults:
        yield error_result(f"{METADATA} {each}")
    yield from _notes(metadata, settings.report_populations)
    return None if faults else describe(metadata, settings.operating_point)


def _identity_faults(metadata: dict[str, Any]) -> Iterator[str]:
    for key in ("name", "version"):
        if not _is_text(metadata.get(key)):
            yield f'lacks "{key}": reports name the model by it'
    for key in ("path", "sha256"):
        if not _is_text(_inside(metadata, "weights", key)):
            yield f'lacks "weights": {{"{key}": …}}: a report must name its weights'
    yield from calibration_faults(metadata.get("calibration"))


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


def _notes(metadata: dict[str, Any], reported: Collection[str]) -> Iterator[CheckResult]:
    if _inside(metadata, "calibration", "method") == "none":
        yield note_result("its probabilities are not calibrated, and its reports say so")
    points = metadata.get("operating_points")
    for name, point in points.items() if isinstance(points, dict) else ():
        values = point if isinstance(point, dict) else {}
        missing = [key for key in _FIGURES if not is_number(values.get(key))]
        if missing:
            yield note_result(f"its operating point {name} states no {' and no '.join(missing)}")
    if not _is_text(metadata.get("intended_use")):
        yield note_result(f'{METADATA} has no "intended_use", which says what the model is for')
    if insisted := [name for name in _unvalidated(metadata) if name in reported]:
        yield note_result(
            f"it is not validated for {', '.join(insisted)}, and reports them nonetheless, as "
            "bundle.report_populations says"
        )


def _unvalidated(metadata: dict[str, Any]) -> list[str]:
    entries = populations_of(metadata).items()
    return [name for name, entry in entries if _inside(entry, "validated") is False]


def _left_out(metadata: dict[str, Any], reported: Collection[str]) -> str:
    names = [name for name in _unvalidated(metadata) if name not in reported]
    return f"; not validated for {', '.join(names)}, which are not analysed" if names else ""


def _device(name: str) -> Checks[torch.device]:
    try:
        return find_device(name)
    except BundleError as error:
        yield error_result(str(error))
        return torch.device("cpu")  # so that the rest is checked nonetheless


def _parts(bundle: Path, metadata: dict[str, Any]) -> Checks[dict[str, Any]]:
    """Build each section of the configuration by itself; return those that could be built."""
    try:
        config = parse_configuration(bundle, metadata)
    except Exception as error:  # noqa: BLE001 -- a configuration is code: it may raise anything
        yield error_result(f"{CONFIGURATION} cannot be read ({in_one_line(error)})")
        return {}
    parts = {}
    for key in SECTIONS:
        if key not in config:
            yield error_result(f"{CONFIGURATION} lacks {key}")
            continue
        part = yield from _built(config, key)
        if part is not None:
            parts[key] = part
    return parts


def _built(config: ConfigParser, key: str) -> Checks[Any | None]:
    try:
        part = config.get_parsed_content(key)
    except Exception as error:  # noqa: BLE001 -- as above
        yield error_result(f"{CONFIGURATION}: {key} cannot be built ({in_one_line(error)})")
        return None
    if key == "network_def" and not isinstance(part, torch.nn.Module):
        yield error_result(f"{CONFIGURATION}: network_def is not a torch.nn.Module")
    elif key == "preprocessing" and not isinstance(part, Compose):
        yield error_result(
            f"{CONFIGURATION}: preprocessing is not a Compose; use one whose first "
            "transform opens the radiograph"
        )
    elif not callable(part):
        yield error_result(f"{CONFIGURATION}: {key} is not callable")
    else:
        return part
    return None


def _weights(bundle: Path, metadata: dict[str, Any]) -> Checks[bytes | None]:
    if not all(_is_text(_inside(metadata, "weights", key)) for key in ("path", "sha256")):
        return None  # reported with the description
    try:
        return verified_weights(bundle, metadata)
    except BundleError as error:
        yield error_result(str(error))
        return None


def _assembled(
    parts: dict[str, Any], weights: bytes | None, device: torch.device
) -> Checks[Pipeline | None]:
    network = parts.get("network_def")
    if network is None or weights is None:
        return None
    try:
        fit(network, weights)
    except Exception as error:  # noqa: BLE001 -- an unknown file makes torch raise many kinds
        yield error_result(
            f"the weights do not load with weights_only=True or do not fit network_def "
            f"({in_one_line(error)}): save the state_dict() of that network"
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


def _inside(metadata: object, *keys: str) -> object:
    for key in keys:
        metadata = metadata.get(key) if isinstance(metadata, dict) else None
    return metadata


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
