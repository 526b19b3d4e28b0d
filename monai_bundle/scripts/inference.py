"""Analyse the files named on the command line and write one JSON object per line."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from scripts.postprocessing.calibration import finding_at
from scripts.postprocessing.populations import operating_points_of, other_operating_points_of
from scripts.refusal import find_refusal

Result = dict[str, Any]
Transform = Callable[[dict[str, Any]], dict[str, Any]]


class _Prepared(NamedTuple):
    """One radiograph as the network and postprocessing need it."""

    image: Tensor
    age_years: float | None


def analyse(
    inputs: str | Iterable[str],
    *,
    preprocessing: Transform,
    forward: Callable[[Tensor], Mapping[str, Tensor]],
    postprocessing: Transform,
    metadata: Mapping[str, Any],
    operating_point: str,
    batch_size: int,
) -> Iterator[Result]:
    """Yield one result per input, in the order of the inputs.

    Args:
        inputs: paths of DICOM, PNG or JPEG files.
        preprocessing: turns {"image": path, "image_age_years": None} into {"image": CxHxW} and the
            patient's age, if the file says one.
        forward: turns a batch BxCxHxW into the outputs of `Ensemble`, by name.
        postprocessing: turns one image's outputs and "age_years" into "pred", a probability,
            "region", and what else the model has of "population" and "other".
        metadata: of the bundle.
        operating_point: the name of the operating point to apply.
        batch_size: the number of files decoded and passed to the network together.

    Yields:
        `input` with `probability`, `finding` and `region`, and `population` with `validated`,
        `other_abnormality` and `other_finding` where the model has them; or `input` with
        `unreadable`: the code of the refusal, or the operating system's message for a path that
        cannot be opened.

    Raises:
        ValueError: there is no such operating point.
    """
    if operating_point not in (points := metadata["operating_points"]):
        raise ValueError(
            f"no operating point {operating_point!r}: choose one of {', '.join(points)}"
        )
    names = iter([inputs] if isinstance(inputs, str) else inputs)
    while batch := list(islice(names, batch_size)):
        prepared = [_prepare(name, preprocessing) for name in batch]
        images = [item.image for item in prepared if isinstance(item, _Prepared)]
        outputs = forward(torch.stack(images)) if images else {}
        index = 0
        for name, item in zip(batch, prepared, strict=True):
            if isinstance(item, str):
                yield {"input": name, "unreadable": item}
                continue
            own: dict[str, Any] = {key: each[index].float().cpu() for key, each in outputs.items()}
            own["age_years"] = item.age_years
            yield {"input": name, **_conclude(own, postprocessing, metadata, operating_point)}
            index += 1


def _prepare(name: str, preprocessing: Transform) -> _Prepared | str:
    """Return the network's input and the patient's age, or why there is none."""
    try:
        prepared = preprocessing({"image": name, "image_age_years": None})
        return _Prepared(torch.as_tensor(prepared["image"]), prepared["image_age_years"])
    except Exception as error:
        if refusal := find_refusal(error):
            return refusal.code
        if isinstance(error.__cause__, OSError):
            return error.__cause__.strerror or "cannot be read"
        raise


def _conclude(
    outputs: Mapping[str, Any],
    postprocessing: Transform,
    metadata: Mapping[str, Any],
    operating_point: str,
) -> Result:
    """Return what one image's outputs mean, or the code with which the gate refuses it."""
    try:
        result = postprocessing(dict(outputs))
    except Exception as error:
        if refusal := find_refusal(error):
            return {"unreadable": refusal.code}
        raise
    population = result.get("population")
    points = operating_points_of(metadata, population)
    probability = float(result["pred"])
    return {
        "probability": probability,
        "finding": finding_at(probability, points[operating_point]),
        "region": result["region"] and [round(edge, 4) for edge in result["region"]],
        **_of_population(metadata, population),
        **_of_other(result, other_operating_points_of(metadata, population), operating_point),
    }


def _of_population(metadata: Mapping[str, Any], population: str | None) -> Result:
    if population is None:
        return {}
    return {
        "population": population,
        "validated": bool(metadata["populations"][population]["validated"]),
    }


def _of_other(result: Mapping[str, Any], points: Mapping[str, Any], operating_point: str) -> Result:
    if "other" not in result:
        return {}
    probability = float(result["other"])
    return {
        "other_abnormality": probability,
        "other_finding": finding_at(probability, points[operating_point]),
    }


def write_json_lines(results: Iterable[Result], output: str) -> None:
    """Write results as JSON lines to the file `output`, or to standard output if it is "-"."""
    lines = (json.dumps(result) + "\n" for result in results)
    if output == "-":
        sys.stdout.writelines(lines)
        return
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.writelines(lines)
