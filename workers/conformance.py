"""Facts from the workers for the conformance statement: outputs, and reactions to responses.

The annex is generated from outputs that are built here, from two synthetic sources and every
conclusion, so that it states exactly what is sent.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from pydicom.datadict import dictionary_description
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation

from service.conformance.tables import Lines, WorkerFacts, heading, hexadecimal, paragraph, table
from service.dicom.statuses import (
    OUT_OF_RESOURCES,
    SERVICE_CLASS_WARNINGS,
    SUCCESS,
)
from service.domain.reasons import LEFT_ALONE, NOT_ANALYSED
from service.domain.routing import OutputKind
from service.settings import Settings
from workers.delivery.stored_output import (
    WARNINGS,
)
from workers.delivery.stow_response import REFUSED, STORED
from workers.prediction import (
    Conclusion,
    Finding,
    Model,
    NotAnalysed,
    OperatingPoint,
    OtherAbnormality,
    Prediction,
    Region,
)
from workers.reporting.header import INHERITED, TYPE_2
from workers.reporting.output import Output, as_comprehensive
from workers.reporting.outputs import make_outputs
from workers.reporting.uids import OutputIdentity, Predecessor

LONGEST_VALUE: Final = 60
VARIES: Final = "varies"
TITLES: Final = {
    OutputKind.SR: "Report",
    OutputKind.OVERLAY: "Overlay",
    OutputKind.GSPS: "Presentation state",
    OutputKind.PDF: "PDF",
}


def worker_facts(settings: Settings) -> WorkerFacts:
    """Collect what the conformance statement says about the workers."""
    return WorkerFacts(
        responses=tuple(_responses(settings)),
        web_responses=tuple(_web_responses()),
        objects=tuple(_objects()),
    )


def _responses(settings: Settings) -> Iterator[tuple[str, str]]:
    limits = settings.deliver
    yield (
        hexadecimal(SUCCESS),
        "delivered; if commitment is requested, stored until confirmed",
    )
    single = [hexadecimal(each) for each in sorted(WARNINGS) if each not in SERVICE_CLASS_WARNINGS]
    yield f"{', '.join(single)}, 0xBxxx", "the same, and the warning is recorded and counted"
    yield (
        f"{hexadecimal(OUT_OF_RESOURCES)[:-2]}xx, no response, no association",
        f"retried for up to {limits.give_up_days:g} days",
    )
    yield "any other", f"retried up to {limits.maximum_refusals} times, then parked"


def _web_responses() -> Iterator[tuple[str, str]]:
    yield ", ".join(map(str, sorted(STORED))), "as 0x0000, unless the body has a warning or failure"
    yield "202", "by the Warning Reason or Failure Reason of the instance in the body"
    for status, meaning in REFUSED.items():
        yield str(status), f"as {hexadecimal(meaning)}, unless the body has a Failure Reason"
    yield "any other, no response, TLS failure", "retried, as when there is no association"


def _objects() -> Lines:
    yield from heading(2, "8 Annexes: IOD contents, codes and templates")
    yield from heading(3, "8.1 IOD contents")
    yield from paragraph(
        "Generated from the outputs about synthetic sources, for every conclusion. Sequences are",
        "listed with the number of their items; (where it applies) marks attributes that not every",
        "object of the kind has. Patient and study attributes are those of the source; absent ones",
        "of Type 2 are empty.",
    )
    samples = list(_samples())
    for kind in OutputKind:
        yield from _attributes(kind, [each.dataset for each in samples if each.kind is kind])
    yield from _inherited()
    yield from heading(3, "8.2 Private attributes and transfer syntaxes")
    yield from paragraph("None.")
    yield from heading(3, "8.3 Coded terminology and templates")
    yield from _templates(samples)
    yield from _codes(samples)
    yield from heading(3, "8.4 Greyscale image consistency")
    yield from paragraph(
        "Lobar has no display. Overlays are RGB; presentation states repeat the greyscale",
        "transformations of the source, with Presentation LUT Shape INVERSE for MONOCHROME1.",
    )


def _samples() -> Iterator[Output]:
    """Build every output of every conclusion, about two sources at different times."""
    for number in (1, 2):
        for place, conclusion in enumerate(_conclusions()):
            outputs = make_outputs(
                _source(number),
                np.zeros((40 + number, 40), dtype=np.float32),
                conclusion,
                kinds=tuple(OutputKind),
                now=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number, seconds=number),
                identity=OutputIdentity(predecessor=None if place else _predecessor()),
            )
            for output in outputs:
                yield output
                if output.kind is OutputKind.SR:
                    yield as_comprehensive(output)


def _conclusions() -> Iterator[Conclusion]:
    point = OperatingPoint(
        name="balanced", threshold=0.5, indeterminate_low=0.4, indeterminate_high=0.6
    )
    for digit in "01":
        model = Model(
            name=f"model {digit}",
            version=digit,
            weights_sha256=digit * 64,
            calibrated=True,
            operating_point=point,
        )
        for probability in (0.9, 0.1, 0.5):
            finding = point.read(probability)
            prediction = Prediction(finding=finding, probability=probability, model=model)
            other = OtherAbnormality(
                finding=finding, probability=probability, operating_point=point
            )
            yield prediction
            yield replace(prediction, other=other, population="adults")
            if finding is not Finding.ABSENT:
                yield replace(prediction, region=Region(top=0, left=0, bottom=0.5, right=0.5))
        for reason in NOT_ANALYSED:
            if reason not in LEFT_ALONE:
                yield NotAnalysed(reason=reason, model=model)


def _predecessor() -> Predecessor:
    uid = "1.2.3"
    return Predecessor(sop_class_uid=uid, sop_instance_uid=uid, series_instance_uid=uid)


def _source(number: int) -> Dataset:
    """Build the header of a synthetic radiograph that has every attribute outputs depend on."""
    source = Dataset()
    source.SOPClassUID = DigitalXRayImageStorageForPresentation
    source.SOPInstanceUID = f"1.2.3.{number}"
    source.StudyInstanceUID = f"1.2.4.{number}"
    source.SeriesInstanceUID = f"1.2.5.{number}"
    source.Modality = "DX"
    source.Rows = source.Columns = 100 * number
    source.PhotometricInterpretation = f"MONOCHROME{number}"
    source.SamplesPerPixel = 1
    source.ImagerPixelSpacing = [number / 10, number / 10]
    source.PatientOrientation = ["L", "F"] if number == 1 else ["R", "F"]
    source.TimezoneOffsetFromUTC = f"+0{number}00"
    source.LossyImageCompression = "01"
    request = Dataset()
    request.AccessionNumber = request.RequestedProcedureID = str(number)
    source.RequestAttributesSequence = [request]
    return source


def _attributes(kind: OutputKind, datasets: list[Dataset]) -> Lines:
    classes = {UID(str(each.SOPClassUID)).name for each in datasets}
    yield from heading(4, f"{TITLES[kind]}: {' or '.join(sorted(classes))}")
    tags = sorted({tag for dataset in datasets for tag in dataset.keys()})  # noqa: SIM118 -- iterating a Dataset decodes
    copied = {*TYPE_2, *INHERITED}
    rows = []
    for tag in tags:
        held = [dataset[tag] for dataset in datasets if tag in dataset]
        if held[0].keyword in copied:
            continue
        always = len(held) == len(datasets)
        value = _value(held) + ("" if always else " (where it applies)")
        rows.append((dictionary_description(tag), str(tag), held[0].VR, value))
    yield from table(("Attribute", "Tag", "VR", "Value"), rows)


def _value(held: list[DataElement]) -> str:
    if held[0].VR == "SQ":
        counts = sorted({len(each.value) for each in held})
        number = " or ".join(map(str, counts))
        return f"{number} item{'' if counts == [1] else 's'}"
    written = {_written(each) for each in held}
    if len(written) != 1:
        return VARIES
    (only,) = written
    return (only if len(only) <= LONGEST_VALUE else f"{only[:LONGEST_VALUE]}...") or "empty"


def _written(element: DataElement) -> str:
    if element.VR in {"OB", "OW"}:
        return VARIES
    values = element.value if element.VM > 1 else [element.value]
    return "\\".join(map(str, values))


def _inherited() -> Lines:
    yield from heading(4, "Of every object: attributes copied from the source")
    names = ", ".join(sorted(dictionary_description(each) for each in (*TYPE_2, *INHERITED)))
    yield from paragraph(f"As in the source, byte for byte: {names}.")


def _templates(samples: Iterable[Output]) -> Lines:
    used = {
        (str(item.MappingResource), str(item.TemplateIdentifier))
        for output in samples
        for item in _items_below(output.dataset)
        if "TemplateIdentifier" in item
    }
    meanings = {
        "1500": "Measurement Report: the findings",
        "1501": "Measurement and Qualitative Evaluation Group: without a region",
        "1410": "Planar ROI Measurements and Qualitative Evaluations: with a region",
        "2000": "Basic Diagnostic Imaging Report: not analysed",
    }
    rows = [(f"{resource} {number}", meanings[number]) for resource, number in sorted(used)]
    yield from table(("Template", "Used for"), rows)


def _codes(samples: Iterable[Output]) -> Lines:
    used: dict[tuple[str, str], tuple[str, set[str]]] = {}
    for output in samples:
        for item in _items_below(output.dataset):
            value = item.get("CodeValue") or item.get("LongCodeValue")
            if value is None:
                continue
            scheme = str(item.CodingSchemeDesignator)
            entry = used.setdefault((scheme, str(value)), (str(item.CodeMeaning), set()))
            entry[1].add(TITLES[output.kind].lower())
    rows = [
        (f"({value}, {scheme}, {meaning})", ", ".join(sorted(kinds)))
        for (scheme, value), (meaning, kinds) in sorted(used.items())
    ]
    yield from table(("Code", "In"), rows)


def _items_below(dataset: Dataset) -> Iterator[Any]:
    """Yield a data set and the items of its sequences at every depth."""
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _items_below(item)
