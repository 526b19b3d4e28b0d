"""Readings of radiographs given by name: one JSON object a line."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from scripts.probability import finding
from scripts.unreadable import unreadable_behind

Reading = dict[str, str | float]


def read(
    inputs: str | Iterable[str],
    *,
    preprocessing: Callable[[dict[str, Any]], dict[str, Any]],
    forward: Callable[[torch.Tensor], torch.Tensor],
    postprocessing: Callable[[dict[str, Any]], dict[str, Any]],
    operating_point: Mapping[str, Any],
    batch_size: int,
) -> Iterator[Reading]:
    """Give one reading per input, in their order: a probability and a finding, or a coded reason.

    `inputs` are paths of DICOM, PNG or JPEG; `forward` maps BxCxHxW to logits Bx1. A path that
    cannot be opened is unreadable as the operating system says.
    """
    names = iter([inputs] if isinstance(inputs, str) else inputs)
    while batch := list(islice(names, batch_size)):
        prepared = [_prepare(name, preprocessing) for name in batch]
        images = [item for item in prepared if isinstance(item, torch.Tensor)]
        logits = iter(forward(torch.stack(images)) if images else ())
        for name, item in zip(batch, prepared, strict=True):
            if isinstance(item, str):
                yield {"input": name, "unreadable": item}
                continue
            probability = float(postprocessing({"pred": next(logits)})["pred"])
            yield {
                "input": name,
                "probability": probability,
                "finding": finding(probability, operating_point),
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
