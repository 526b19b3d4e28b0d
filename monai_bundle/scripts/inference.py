"""Readings of radiographs given by name: one JSON object a line."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from scripts.postprocessing.calibration import finding
from scripts.refusal import unreadable_behind

Reading = dict[str, Any]


def read(
    inputs: str | Iterable[str],
    *,
    preprocessing: Callable[[dict[str, Any]], dict[str, Any]],
    forward: Callable[[torch.Tensor], Mapping[str, torch.Tensor]],
    postprocessing: Callable[[dict[str, Any]], dict[str, Any]],
    operating_point: Mapping[str, Any],
    batch_size: int,
) -> Iterator[Reading]:
    """Give one reading per input, in their order: a probability and a finding, or a coded reason.

    `inputs` are paths of DICOM, PNG or JPEG; `forward` maps BxCxHxW to the outputs of
    `reader.Reader`. A path that cannot be opened is unreadable as the operating system says.
    """
    names = iter([inputs] if isinstance(inputs, str) else inputs)
    while batch := list(islice(names, batch_size)):
        prepared = [_prepare(name, preprocessing) for name in batch]
        images = [item for item in prepared if isinstance(item, torch.Tensor)]
        outputs = forward(torch.stack(images)) if images else {}
        index = 0
        for name, item in zip(batch, prepared, strict=True):
            if isinstance(item, str):
                yield {"input": name, "unreadable": item}
                continue
            told = {key: tensor[index].float().cpu() for key, tensor in outputs.items()}
            yield {"input": name, **_conclude(told, postprocessing, operating_point)}
            index += 1


def _conclude(
    told: Mapping[str, torch.Tensor],
    postprocessing: Callable[[dict[str, Any]], dict[str, Any]],
    operating_point: Mapping[str, Any],
) -> Reading:
    """Give what one radiograph's outputs mean, or the code with which the gate refuses it."""
    try:
        result = postprocessing(dict(told))
    except Exception as error:
        if unreadable := unreadable_behind(error):
            return {"unreadable": unreadable.code}
        raise
    probability = float(result["pred"])
    return {
        "probability": probability,
        "finding": finding(probability, operating_point),
        "region": result["region"] and [round(share, 4) for share in result["region"]],
    }


def _prepare(
    name: str, preprocessing: Callable[[dict[str, Any]], dict[str, Any]]
) -> torch.Tensor | str:
    """Give the network's input CxHxW, or the reason why there is none."""
    try:
        return torch.as_tensor(preprocessing({"image": name})["image"])
    except Exception as error:
        if unreadable := unreadable_behind(error):
            return unreadable.code
        if isinstance(error.__cause__, OSError):
            return error.__cause__.strerror or "cannot be read"
        raise


def write(readings: Iterable[Reading], output: str) -> None:
    """Write readings as JSON lines to the file `output`, or to standard output if it is "-"."""
    lines = (json.dumps(reading) + "\n" for reading in readings)
    if output == "-":
        sys.stdout.writelines(lines)
        return
    path = Path(output)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.writelines(lines)
