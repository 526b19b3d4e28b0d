"""Analyse the files named on the command line and write one JSON object per line."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scripts.postprocessing.calibration import finding_at
from scripts.refusal import find_refusal

Result = dict[str, Any]
Transform = Callable[[dict[str, Any]], dict[str, Any]]


def analyse(
    inputs: str | Iterable[str],
    *,
    preprocessing: Transform,
    forward: Callable[[Tensor], Mapping[str, Tensor]],
    postprocessing: Transform,
    operating_point: Mapping[str, Any],
    batch_size: int,
) -> Iterator[Result]:
    """Yield one result per input, in the order of the inputs.

    Args:
        inputs: paths of DICOM, PNG or JPEG files.
        preprocessing: turns {"image": path} into {"image": CxHxW}.
        forward: turns a batch BxCxHxW into the outputs of `Ensemble`, by name.
        postprocessing: turns one image's outputs into "pred", a probability, and "region".
        operating_point: the entry of the metadata's `operating_points` to apply.
        batch_size: the number of files decoded and passed to the network together.

    Yields:
        `input` with `probability`, `finding` and `region`; or `input` with `unreadable`: the code
        of the refusal, or the operating system's message for a path that cannot be opened.
    """
    names = iter([inputs] if isinstance(inputs, str) else inputs)
    while batch := list(islice(names, batch_size)):
        prepared = [_prepare(name, preprocessing) for name in batch]
        images = [item for item in prepared if isinstance(item, Tensor)]
        outputs = forward(torch.stack(images)) if images else {}
        index = 0
        for name, item in zip(batch, prepared, strict=True):
            if isinstance(item, str):
                yield {"input": name, "unreadable": item}
                continue
            own = {key: tensor[index].float().cpu() for key, tensor in outputs.items()}
            yield {"input": name, **_conclude(own, postprocessing, operating_point)}
            index += 1


def _prepare(name: str, preprocessing: Transform) -> Tensor | str:
    """Return the network's input CxHxW, or why there is none."""
    try:
        return torch.as_tensor(preprocessing({"image": name})["image"])
    except Exception as error:
        if refusal := find_refusal(error):
            return refusal.code
        if isinstance(error.__cause__, OSError):
            return error.__cause__.strerror or "cannot be read"
        raise


def _conclude(
    outputs: Mapping[str, Tensor], postprocessing: Transform, operating_point: Mapping[str, Any]
) -> Result:
    """Return what one image's outputs mean, or the code with which the gate refuses it."""
    try:
        result = postprocessing(dict(outputs))
    except Exception as error:
        if refusal := find_refusal(error):
            return {"unreadable": refusal.code}
        raise
    probability = float(result["pred"])
    return {
        "probability": probability,
        "finding": finding_at(probability, operating_point),
        "region": result["region"] and [round(edge, 4) for edge in result["region"]],
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
