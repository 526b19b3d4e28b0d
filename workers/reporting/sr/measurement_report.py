"""The content tree of a report about an analysed instance (PS3.16 TID 1500).

It has exactly one measurement group. Whether pneumonia is there is the pair "Pneumonia: Present";
only a positive also has a Finding, so that a reader which prints nothing but Findings cannot turn
a negative into a positive.
"""

from collections.abc import Iterator

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    MeasurementReport,
    NumContentItem,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from service.dicom.implementation import MANUFACTURER
from workers.prediction import Model, Prediction
from workers.reporting.codes import (
    HORIZONTAL_SPACING,
    IMAGE_LIBRARY,
    IMAGE_LIBRARY_GROUP,
    IMAGING_MEASUREMENT_REPORT,
    IMAGING_PROCEDURE,
    MILLIMETER,
    MODALITIES,
    MODALITY,
    ORIENTATION_COLUMN,
    ORIENTATION_ROW,
    PIXEL_DATA_COLUMNS,
    PIXEL_DATA_ROWS,
    PIXELS,
    SOURCE,
    VERTICAL_SPACING,
)
from workers.reporting.source import Pair, Source
from workers.reporting.sr.measurement_group import build_measurement_group
from workers.reporting.uids import device_uid
from workers.reporting.wording import ascii_text


def build_measurement_report(
    source: Source, prediction: Prediction, *, tracking_uid: str
) -> Dataset:
    """Build the root of the content tree; Continuity of Content is SEPARATE throughout.

    highdicom writes CONTINUOUS, for which OHIF prints values without their names.
    """
    report = MeasurementReport(
        title=IMAGING_MEASUREMENT_REPORT,
        observation_context=build_observation_context(prediction.model),
        procedure_reported=IMAGING_PROCEDURE,
        imaging_measurements=[
            build_measurement_group(source, prediction, tracking_uid=tracking_uid)
        ],
    )
    root = report[0]
    children = root.ContentSequence
    children.insert(len(children) - 1, build_image_library(source))  # TID 1500: before measurements
    set_separate_continuity(root)
    return root


def build_observation_context(model: Model) -> ObservationContext:
    """Build TID 1001: the observer is a device, this version of Lobar with this model."""
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


def build_image_library(source: Source) -> ContainerContentItem:
    """Build TID 1600; highdicom's own class requires attributes that many sources lack."""
    image = ImageContentItem(
        name=SOURCE,
        referenced_sop_class_uid=source.sop_class_uid,
        referenced_sop_instance_uid=source.sop_instance_uid,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    descriptors = list(_image_descriptors(source))
    if descriptors:
        image.ContentSequence = ContentSequence(descriptors)
    return build_container(IMAGE_LIBRARY, build_container(IMAGE_LIBRARY_GROUP, image))


def build_container(name: Code, *children: ContentItem) -> ContainerContentItem:
    """Build a container with these children."""
    container = ContainerContentItem(name=name, relationship_type=RelationshipTypeValues.CONTAINS)
    container.ContentSequence = ContentSequence(children)
    return container


def _image_descriptors(source: Source) -> Iterator[ContentItem]:
    """Yield the items of TID 1602 and 1603 whose attributes the source has."""
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
    spacing = spacing_of(source)
    if spacing is not None:
        between_rows, between_columns = spacing
        yield HORIZONTAL_SPACING, between_columns, MILLIMETER
        yield VERTICAL_SPACING, between_rows, MILLIMETER


def spacing_of(source: Source) -> Pair | None:
    """Return the spacing that a report states: that at the patient where it is known."""
    return source.pixel_spacing or source.imager_pixel_spacing


def set_separate_continuity(item: Dataset) -> None:
    """Set Continuity of Content to SEPARATE in all containers of a tree (PS3.3 C.18.8)."""
    if item.ValueType == "CONTAINER":
        item.ContinuityOfContent = "SEPARATE"
    for child in item.get("ContentSequence", ()):
        set_separate_continuity(child)
