"""What a report says: one probability of pneumonia as a measurement report (PS3.16 TID 1500).

Exactly one measurement group, of the variant without a region (TID 1501). Whether pneumonia is
there is the pair "Pneumonia: Present"; only a positive also carries a Finding, so that a reader
which prints nothing but Findings cannot turn a negative into a positive.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    CoordinatesForMeasurement,
    DeviceObserverIdentifyingAttributes,
    GraphicTypeValues,
    ImageContentItem,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    NumContentItem,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from service.identity import MANUFACTURER
from workers.prediction import Conclusion, Finding, Model, Prediction
from workers.report_source import Source
from workers.report_text import ascii_text, parameters_text, percent
from workers.report_uids import device_uid

PNEUMONIA: Final = Code("233604007", "SCT", "Pneumonia")
READING: Final = {
    Finding.PRESENT: Code("52101004", "SCT", "Present"),
    Finding.ABSENT: Code("272519000", "SCT", "Absent"),
    Finding.INDETERMINATE: Code("373068000", "SCT", "Undetermined"),
}
CERTAINTY_OF_FINDING: Final = Code("111012", "DCM", "Certainty of Finding")
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")
IMAGING_PROCEDURE: Final = Code("363679005", "SCT", "Imaging procedure")
IMAGING_MEASUREMENT_REPORT: Final = Code("126000", "DCM", "Imaging Measurement Report")
IMAGE_LIBRARY: Final = Code("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP: Final = Code("126200", "DCM", "Image Library Group")
SOURCE: Final = Code("260753009", "SCT", "Source")

MODALITY: Final = Code("121139", "DCM", "Modality")
MODALITIES: Final = {  # of CID 29, which has no "other": what comes as a projection radiograph
    "CR": Code("CR", "DCM", "Computed Radiography"),
    "DX": Code("DX", "DCM", "Digital Radiography"),
    "RG": Code("RG", "DCM", "Radiographic imaging"),
    "RF": Code("RF", "DCM", "Radiofluoroscopy"),
    "XA": Code("XA", "DCM", "X-Ray Angiography"),
}
PIXEL_DATA_ROWS: Final = Code("110910", "DCM", "Pixel Data Rows")
PIXEL_DATA_COLUMNS: Final = Code("110911", "DCM", "Pixel Data Columns")
ORIENTATION_ROW: Final = Code("111044", "DCM", "Patient Orientation Row")
ORIENTATION_COLUMN: Final = Code("111043", "DCM", "Patient Orientation Column")
HORIZONTAL_SPACING: Final = Code("111026", "DCM", "Horizontal Pixel Spacing")
VERTICAL_SPACING: Final = Code("111066", "DCM", "Vertical Pixel Spacing")
PERCENT: Final = Code("%", "UCUM", "Percent")
PIXELS: Final = Code("{pixels}", "UCUM", "Pixels")
MILLIMETER: Final = Code("mm", "UCUM", "millimeter")

TRACKING_IDENTIFIER: Final = "AI finding of the whole image"


def measurement_report(source: Source, conclusion: Conclusion, *, tracking_uid: str) -> Dataset:
    """Give the root of the content tree; all its containers say SEPARATE.

    highdicom writes CONTINUOUS, in which OHIF prints values without their names.
    """
    report = MeasurementReport(
        title=IMAGING_MEASUREMENT_REPORT,
        observation_context=_observed_by(conclusion.model),
        procedure_reported=IMAGING_PROCEDURE,
        imaging_measurements=[_measurement_group(source, conclusion, tracking_uid)],
    )
    root = report[0]
    children = root.ContentSequence
    children.insert(len(children) - 1, _image_library(source))  # TID 1500: before measurements
    _separate(root)
    return root


def _observed_by(model: Model) -> ObservationContext:
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=CodedConcept("121007", "DCM", "Device"),
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=device_uid(model),
                name=MANUFACTURER,
                manufacturer_name=MANUFACTURER,
                model_name=ascii_text(model.name),
                serial_number=model.weights_sha256[:16],
            ),
        )
    )


def _measurement_group(
    source: Source, prediction: Prediction, tracking_uid: str
) -> MeasurementsAndQualitativeEvaluations:
    model = prediction.model
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=tracking_uid, identifier=TRACKING_IDENTIFIER),
        finding_type=PNEUMONIA if prediction.finding is Finding.PRESENT else None,
        algorithm_id=AlgorithmIdentification(
            name=ascii_text(model.name),
            version=ascii_text(model.version),
            parameters=parameters_text(model, prediction.probability),
            family=ARTIFICIAL_INTELLIGENCE,
        ),
        measurements=[_certainty(source, prediction)],
        qualitative_evaluations=[
            QualitativeEvaluation(name=PNEUMONIA, value=READING[prediction.finding])
        ],
        source_images=[
            SourceImageForMeasurementGroup(source.sop_class_uid, source.sop_instance_uid)
        ],
    )


def _certainty(source: Source, prediction: Prediction) -> Measurement:
    """Give the probability in percent, inferred from the whole image.

    The region says no more than that, but OHIF shows a black viewport for a report without one.
    """
    return Measurement(
        name=CERTAINTY_OF_FINDING,
        value=float(percent(prediction.probability)),
        unit=PERCENT,
        referenced_coordinates=_whole_image(source),
    )


def _whole_image(source: Source) -> list[CoordinatesForMeasurement] | None:
    if source.rows is None or source.columns is None:
        return None
    right, bottom = float(source.columns), float(source.rows)
    corners = [(0.0, 0.0), (right, 0.0), (right, bottom), (0.0, bottom), (0.0, 0.0)]
    return [
        CoordinatesForMeasurement(
            graphic_type=GraphicTypeValues.POLYLINE,
            graphic_data=np.array(corners),  # column\row; 0\0 is the first pixel's outer corner
            source_image=SourceImageForRegion(source.sop_class_uid, source.sop_instance_uid),
        )
    ]


def _image_library(source: Source) -> ContainerContentItem:
    """Give TID 1600 by hand: highdicom's needs attributes that many sources lack."""
    image = ImageContentItem(
        name=SOURCE,
        referenced_sop_class_uid=source.sop_class_uid,
        referenced_sop_instance_uid=source.sop_instance_uid,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    descriptors = list(_image_descriptors(source))
    if descriptors:
        image.ContentSequence = ContentSequence(descriptors)
    return _container(IMAGE_LIBRARY, _container(IMAGE_LIBRARY_GROUP, image))


def _container(name: Code, child: ContentItem) -> ContainerContentItem:
    container = ContainerContentItem(name=name, relationship_type=RelationshipTypeValues.CONTAINS)
    container.ContentSequence = ContentSequence([child])
    return container


def _image_descriptors(source: Source) -> Iterator[ContentItem]:
    """Give TID 1602 and 1603, as far as the source knows."""
    acquired = RelationshipTypeValues.HAS_ACQ_CONTEXT
    modality = MODALITIES.get(source.modality)
    if modality is not None:
        yield CodeContentItem(name=MODALITY, value=modality, relationship_type=acquired)
    for name, value, unit in _image_numbers(source):
        yield NumContentItem(name=name, value=value, unit=unit, relationship_type=acquired)
    if source.patient_orientation is not None:
        for name, direction in zip(
            (ORIENTATION_ROW, ORIENTATION_COLUMN), source.patient_orientation, strict=True
        ):
            yield TextContentItem(name=name, value=direction, relationship_type=acquired)


def _image_numbers(source: Source) -> Iterator[tuple[Code, float, Code]]:
    if source.rows is not None and source.columns is not None:
        yield PIXEL_DATA_ROWS, source.rows, PIXELS
        yield PIXEL_DATA_COLUMNS, source.columns, PIXELS
    spacing = source.pixel_spacing or source.imager_pixel_spacing
    if spacing is not None:
        between_rows, between_columns = spacing
        yield HORIZONTAL_SPACING, between_columns, MILLIMETER
        yield VERTICAL_SPACING, between_rows, MILLIMETER


def _separate(item: Dataset) -> None:
    if item.ValueType == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
    for child in item.get("ContentSequence", ()):
        _separate(child)
