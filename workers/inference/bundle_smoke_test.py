"""Run a bundle on synthetic radiographs and check that it keeps the contract of bundles.

The radiographs are drawn, show nobody, and are DICOM, as everything is that the service reads.
"""

import io
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.dicom.secondary_capture import wrap
from service.domain.check_result import CheckResult
from workers.inference.bundle import BundleError, code_behind, in_one_line
from workers.inference.model_io import ModelInput, ModelOutput, Pixels
from workers.inference.operating_points import populations_of
from workers.inference.pipeline import Pipeline
from workers.prediction import NotAnalysable, Region

Picture = NDArray[np.uint8]
Result = TypeVar("Result")
Checks = Generator[CheckResult, None, Result]  # yields faults and notes, returns a result

TOLERANCE: Final = 1e-4  # of a probability; other batch sizes sum in another order
SIZES: Final = ((420, 360), (300, 400))  # rows, columns: portrait and landscape
_BRIGHTEST: Final = 255
_NEARLY_EQUAL: Final = 0.02  # of brightness or of an edge


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticRadiographs:
    """The files that a bundle is run on."""

    chests: tuple[Path, ...]
    inverted: Path  # the first of them as MONOCHROME1
    png: Path  # the first of them
    others: tuple[Path, ...]  # no chests


def error_result(message: str) -> CheckResult:
    """Build the result for a fault that makes a bundle unusable."""
    return CheckResult(subject="bundle", message=message, severity=2)


def note_result(message: str) -> CheckResult:
    """Build the result for something that a bundle does without."""
    return CheckResult(subject="bundle", message=message, severity=1)


def run_smoke_test(pipeline: Pipeline, metadata: Mapping[str, Any]) -> Checks[str]:
    """Run a pipeline on synthetic radiographs and return a summary of its outputs.

    Args:
        pipeline: of the bundle.
        metadata: of the same, which say what its outputs mean.
    """
    with TemporaryDirectory(prefix="lobar-check-") as folder:
        radiographs = draw(Path(folder))
        read = []
        for path in radiographs.chests:
            read.append((yield from _read(pipeline, path)))  # noqa: PERF401 -- it yields
        inputs = [each for each in read if isinstance(each, ModelInput)]
        for size, path, each in zip(SIZES, radiographs.chests, read, strict=True):
            if isinstance(each, ModelInput):
                yield from _check_picture(pipeline, path, size)
        yield from _check_shapes(inputs)
        outputs = yield from _check_outputs(pipeline, [each.tensor for each in inputs])
        if outputs:
            yield from _check_formats(pipeline, radiographs)
            yield from _check_gate(pipeline, radiographs.others)
            yield from _check_regions(pipeline, inputs[0], outputs)
            yield from _check_other(outputs, metadata)
            yield from _check_populations(pipeline, inputs[0].tensor, metadata)
    refusals = [each for each in read if isinstance(each, NotAnalysable)]
    return _summary([*outputs, *refusals])


def _summary(outputs: Sequence[ModelOutput | NotAnalysable]) -> str:
    """Summarise the outputs; a bundle may well refuse a radiograph that was drawn."""
    numbers = [f"{each.probability:.3f}" for each in outputs if isinstance(each, ModelOutput)]
    reasons = sorted({each.reason for each in outputs if isinstance(each, NotAnalysable)})
    given = [f"gives the probability {' and '.join(numbers)}"] if numbers else []
    refused = [f"refuses as {' and '.join(reasons)}"] if reasons else []
    return f"of {len(SIZES)} drawn radiographs it {' and '.join([*given, *refused])}"


def _read(pipeline: Pipeline, path: Path) -> Checks[ModelInput | NotAnalysable | None]:
    try:
        return pipeline.read(path)
    except NotAnalysable as refusal:
        return refusal
    except Exception as error:  # noqa: BLE001 -- a bundle may raise anything
        yield error_result(_explained("preprocessing", error))
        return None


def _explained(stage: str, error: Exception) -> str:
    if isinstance(error, BundleError):
        return str(error)
    if code := code_behind(error):
        return (
            f"{stage} refuses a radiograph with the code {code!r}, which Lobar does not know: "
            "docs/bundles.md lists those it does"
        )
    return f"{stage} fails on a drawn radiograph ({in_one_line(error)})"


def _check_picture(pipeline: Pipeline, path: Path, size: tuple[int, int]) -> Checks[None]:
    """Check the picture that an overlay would show."""
    try:
        picture = pipeline.picture(path)
    except Exception as error:  # noqa: BLE001 -- a bundle may raise anything
        yield error_result(_explained("the first transform of preprocessing", error))
        return
    if picture.shape != size:
        yield error_result(
            f"the first transform of preprocessing gives {_by(picture.shape)} for "
            f"{_by(size)} rows by columns: let it give 1 x rows x columns, not turned"
        )
    low, high = float(picture.min()), float(picture.max())
    if not (low >= -_NEARLY_EQUAL and high <= 1 + _NEARLY_EQUAL):
        yield error_result(
            f"the first transform of preprocessing gives values from {low:.4g} to {high:.4g}: "
            "let it give 0 for black to 1 for white, as the overlay shows them"
        )


def _check_shapes(inputs: Sequence[ModelInput]) -> Checks[None]:
    """Check that the tensors can share a batch."""
    shapes = sorted({tuple(each.tensor.shape) for each in inputs})
    if len(shapes) > 1:
        yield error_result(
            f"preprocessing gives tensors of {' and '.join(map(_by, shapes))} for radiographs of "
            "two sizes: let it give one shape, so that they can share a batch"
        )


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _check_outputs(
    pipeline: Pipeline, tensors: Sequence[Pixels]
) -> Checks[list[ModelOutput | NotAnalysable]]:
    if len({each.shape for each in tensors}) != 1:
        return []  # reported already, or nothing to run
    try:
        together = pipeline.answer(tensors)
        again = pipeline.answer(tensors)
        alone = [pipeline.answer([each])[0] for each in tensors]
    except Exception as error:  # noqa: BLE001 -- a bundle may raise anything
        yield error_result(_explained("inferer or postprocessing", error))
        return []
    for output in together:
        if isinstance(output, ModelOutput) and not 0 <= output.probability <= 1:
            yield error_result(
                f'postprocessing gives {output.probability:.4g} for "pred", which is no '
                "probability: let it end with a sigmoid"
            )
    if not all(map(_same_output, together, again)):
        yield error_result(
            "it gives two outputs for one radiograph that is read twice: is something random?"
        )
    elif not all(map(_same_output, together, alone)):
        yield error_result(
            "it gives another output for a radiograph alone than in a batch: read each by itself"
        )
    return together


def _same_output(one: ModelOutput | NotAnalysable, other: ModelOutput | NotAnalysable) -> bool:
    if isinstance(one, ModelOutput) and isinstance(other, ModelOutput):
        return abs(one.probability - other.probability) <= TOLERANCE and _same_place(
            one.region, other.region
        )
    if isinstance(one, NotAnalysable) and isinstance(other, NotAnalysable):
        return one.reason is other.reason
    return False


def _same_place(one: Region | None, other: Region | None) -> bool:
    if one is None or other is None:
        return one is other
    apart = (
        one.top - other.top,
        one.left - other.left,
        one.bottom - other.bottom,
        one.right - other.right,
    )
    return max(map(abs, apart)) <= _NEARLY_EQUAL


def _check_formats(pipeline: Pipeline, radiographs: SyntheticRadiographs) -> Checks[None]:
    """Read the first radiograph from two other formats, which should change nothing."""
    try:
        first = pipeline.picture(radiographs.chests[0])
        inverted = pipeline.picture(radiographs.inverted)
    except Exception as error:  # noqa: BLE001 -- as above
        yield note_result(f"it cannot read MONOCHROME1, as many CR are ({in_one_line(error)})")
    else:
        if not _same_picture(inverted, first):
            yield note_result(
                "it does not heed MONOCHROME1: such radiographs, as many CR are, reach its "
                "network with their tones inverted"
            )
    try:
        pipeline.read(radiographs.png)
    except Exception as error:  # noqa: BLE001 -- as above
        yield note_result(
            f"it cannot read PNG, so `lobar analyze` cannot either ({in_one_line(error)})"
        )


def _same_picture(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return one.shape == other.shape and float(np.abs(one - other).mean()) <= _NEARLY_EQUAL


def _check_gate(pipeline: Pipeline, others: Sequence[Path]) -> Checks[None]:
    """Check whether pictures without a chest are refused."""
    for path in others:
        try:
            [output] = pipeline.answer([pipeline.read(path).tensor])
        except NotAnalysable:
            return
        except Exception as error:  # noqa: BLE001 -- as above
            yield error_result(_explained("given no chest, it", error))
            return
        if isinstance(output, NotAnalysable):
            return
    yield note_result(
        "it has no gate: it gives noise and stripes a probability too, and reports them"
    )


def _check_regions(
    pipeline: Pipeline, first: ModelInput, outputs: Sequence[ModelOutput | NotAnalysable]
) -> Checks[None]:
    """Check whether a region can be named at all; none need be named for healthy lungs."""
    named = any(isinstance(each, ModelOutput) and each.region for each in outputs)
    if not named and pipeline.forward(first.tensor[None]).keys() == {"pred"}:
        yield note_result("it names no region: its reports say whether, not where")


def _check_other(
    outputs: Sequence[ModelOutput | NotAnalysable], metadata: Mapping[str, Any]
) -> Checks[None]:
    """Check that the probability of another abnormality is given where the metadata have it."""
    if metadata.get("other_abnormality") is None:
        return
    for each in outputs:
        if isinstance(each, ModelOutput) and not (each.other is not None and 0 <= each.other <= 1):
            yield error_result(
                f'postprocessing gives {each.other} for "other", which is no probability, although '
                'the metadata have "other_abnormality"'
            )


def _check_populations(
    pipeline: Pipeline, tensor: Pixels, metadata: Mapping[str, Any]
) -> Checks[None]:
    """Check that postprocessing names the population of each age, and gives what it has.

    A population may have another abnormality of its own.
    """
    for name, entry in populations_of(metadata).items():
        age = entry["years"] and float(entry["years"][0])
        try:
            [output] = pipeline.answer([tensor], [age])
        except Exception as error:  # noqa: BLE001 -- a bundle may raise anything
            yield error_result(_explained(f"given the age {age}, postprocessing", error))
            return
        if isinstance(output, ModelOutput) and output.population != name:
            yield error_result(
                f"postprocessing gives the population {output.population!r} for the age {age}: let "
                f"it give {name!r}, as the metadata have it"
            )
        yield from _check_other([output], entry)


def draw(folder: Path) -> SyntheticRadiographs:
    """Draw chests of two sizes, and pictures without one, and save them in a folder."""
    chests = [_chest(rows, columns) for rows, columns in SIZES]
    rows, columns = SIZES[0]
    noise = np.random.default_rng(1).integers(0, _BRIGHTEST + 1, (rows, columns), dtype=np.uint8)
    stripes = np.full((rows, columns), 40, np.uint8)
    stripes[:, ::7] = _BRIGHTEST
    png = folder / "chest.png"
    png.write_bytes(_png(chests[0]))
    return SyntheticRadiographs(
        chests=tuple(_dicom(folder / f"chest-{place}", each) for place, each in enumerate(chests)),
        inverted=_dicom(folder / "inverted", chests[0], inverted=True),
        png=png,
        others=(_dicom(folder / "noise", noise), _dicom(folder / "stripes", stripes)),
    )


def _dicom(path: Path, picture: Picture, *, inverted: bool = False) -> Path:
    instance = wrap(_png(_BRIGHTEST - picture if inverted else picture))
    if inverted:
        instance.PhotometricInterpretation = "MONOCHROME1"
    instance.save_as(path.with_suffix(".dcm"), enforce_file_format=True)
    return path.with_suffix(".dcm")


def _png(picture: Picture) -> bytes:
    content = io.BytesIO()
    Image.fromarray(picture).save(content, format="PNG")
    return content.getvalue()


def _chest(rows: int, columns: int) -> Picture:
    """Draw bright bone around dark lungs, a cardiac shadow and a spine."""
    v, u = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    lungs = _hill((u + 0.42) / 0.38, v / 0.8) + _hill((u - 0.42) / 0.38, v / 0.8)
    cardiac = _hill((u - 0.12) / 0.4, (v - 0.35) / 0.5)
    body, spine = _hill(u / 1.1, (v - 0.2) / 1.6), _hill(u / 0.15, 0 * v)
    ribs = np.sin(16 * (v + 0.3 * u * u)) * body
    brightness = 0.1 + 0.6 * body - 0.45 * lungs + 0.25 * cardiac + 0.12 * spine + 0.03 * ribs
    return np.asarray(np.rint(np.clip(brightness, 0, 1) * _BRIGHTEST), dtype=np.uint8)


def _hill(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(1 - u * u - v * v, 0, 1)
