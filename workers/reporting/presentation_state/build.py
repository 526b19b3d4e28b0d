"""Build the presentation state of a conclusion: a region and text that the viewer draws."""

from datetime import datetime
from typing import Final

import numpy as np
from highdicom.color import CIELabColor
from highdicom.pr import (
    AnnotationUnitsValues,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    TextJustificationValues,
    TextObject,
)
from pydicom.dataset import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage
from pydicom.valuerep import format_number_as_ds

from service.domain.routing import OutputKind
from workers.prediction import Conclusion, Finding, NotAnalysed, Prediction, Region
from workers.reporting.geometry import Box, pixel_box
from workers.reporting.header import (
    ANALYSED_BODY_PART,
    Kind,
    add_request_attributes,
    build_common_modules,
    referenced_instance,
)
from workers.reporting.output import Output
from workers.reporting.picture import ORANGE
from workers.reporting.presentation_state.greyscale import (
    is_grey,
    modality_transformation,
    presentation_transformation,
    voi_transformation,
)
from workers.reporting.presentation_state.shutter import display_shutter
from workers.reporting.quiet_pydicom import NO_VALIDATION
from workers.reporting.raw_elements import decimals
from workers.reporting.source import Source
from workers.reporting.uids import FIRST, OutputIdentity, tracking_uid
from workers.reporting.wording import OF_A_REGION, basis_line, other_line, result_line
from workers.tones import Tones

KIND: Final = Kind(
    output=OutputKind.GSPS,
    sop_class_uid=GrayscaleSoftcopyPresentationStateStorage,
    modality="PR",
    series_number=9803,
    series_description="Lobar AI pneumonia presentation (unverified)",
)
CONTENT_LABEL: Final = "LOBAR AI"
CONTENT_DESCRIPTION: Final = "AI result about pneumonia (unverified)"
LAYER: Final = "LOBAR AI"
LINE_BOXES: Final = (  # left, top, right, bottom as shares of what is shown
    (0.02, 0.01, 0.98, 0.06),
    (0.02, 0.06, 0.98, 0.11),
)


def build_presentation_state(
    source: Dataset,
    conclusion: Conclusion,
    *,
    now: datetime,
    identity: OutputIdentity = FIRST,
    tones: Tones | None = None,
) -> Output | None:
    """Build the Grayscale Softcopy Presentation State (PS3.3 A.33.1) that shows a conclusion.

    It shows the whole radiograph in the tones in which the bundle saw it, or in the grey levels of
    its own header if these are not known, a line of text for each finding and, if
    pneumonia is present and the prediction has a region, a box around the region. Other outcomes
    have no box: viewers choose its colour, and it would look like a positive. The arguments are
    those of `workers.reporting.sr.report.build_report`.

    Returns:
        The presentation state; None if the source is not grey (the class is for MONOCHROME1 and
        MONOCHROME2 only) or lacks Rows and Columns, without which neither the displayed area nor a
        box has coordinates.

    Raises:
        ReportError: the source lacks a valid class, instance, series or study UID.
    """
    evidence = Source.read(source)
    if not is_grey(source) or evidence.rows is None or evidence.columns is None:
        return None
    with NO_VALIDATION:  # an accepted UID may begin a component with a zero
        state = build_common_modules(KIND, source, evidence, conclusion, now=now, identity=identity)
        _add_identification(state, source, evidence)
        _add_displayed_area(state, source, evidence)
        state.update(display_shutter(source, tones))
        _add_grey(state, source, tones)
        _add_graphics(state, evidence, conclusion, identity)
    return Output.of(KIND.output, state)


def _add_identification(state: Dataset, header: Dataset, source: Source) -> None:
    """Add Presentation State Identification and Relationship (PS3.3 C.11.10, C.11.11)."""
    state.PresentationCreationDate = state.ContentDate
    state.PresentationCreationTime = state.ContentTime
    del state.ContentDate, state.ContentTime  # not in any module of this class
    state.ContentLabel = CONTENT_LABEL
    state.ContentDescription = CONTENT_DESCRIPTION
    state.ContentCreatorName = ""  # Type 2: no person created it
    state.BodyPartExamined = source.body_part or ANALYSED_BODY_PART
    series = Dataset()
    series.SeriesInstanceUID = source.series_instance_uid
    series.ReferencedImageSequence = [referenced_instance(source)]
    state.ReferencedSeriesSequence = [series]
    add_request_attributes(state, header)


def _add_displayed_area(state: Dataset, header: Dataset, source: Source) -> None:
    """Add Displayed Area (PS3.3 C.10.4) of the whole image; its first pixel is (1, 1)."""
    area = Dataset()
    area.ReferencedImageSequence = [referenced_instance(source)]
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [source.columns, source.rows]
    area.PresentationSizeMode = "SCALE TO FIT"
    spacing = source.pixel_spacing or source.imager_pixel_spacing
    if spacing is None:
        area.PresentationPixelAspectRatio = list(_aspect_ratio(header))
    else:
        area.PresentationPixelSpacing = [format_number_as_ds(each) for each in spacing]
    state.DisplayedAreaSelectionSequence = [area]


def _aspect_ratio(header: Dataset) -> tuple[int, int]:
    """Return the vertical and horizontal size of a pixel (PS3.3 C.7.6.3.1.7); 1, 1 by default."""
    match decimals(header, "PixelAspectRatio"):
        case (vertical, horizontal) if min(vertical, horizontal) >= 1:
            return round(vertical), round(horizontal)
    return 1, 1


def _add_grey(state: Dataset, header: Dataset, tones: Tones | None) -> None:
    """Add Modality LUT, Softcopy VOI LUT and Softcopy Presentation LUT (PS3.3 C.11)."""
    state.update(modality_transformation(header, tones))
    voi = voi_transformation(header, tones)
    if voi is not None:
        state.SoftcopyVOILUTSequence = [voi]
    state.update(presentation_transformation(header, tones))


def _add_graphics(
    state: Dataset, source: Source, conclusion: Conclusion, identity: OutputIdentity
) -> None:
    """Add Graphic Annotation and Graphic Layer (PS3.3 C.10.5, C.10.7)."""
    layer = GraphicLayer(
        layer_name=LAYER,
        order=1,
        description=CONTENT_DESCRIPTION,
        display_color=CIELabColor.from_rgb(*ORANGE),
    )
    annotation = Dataset()
    annotation.ReferencedImageSequence = [referenced_instance(source)]
    annotation.GraphicLayer = LAYER
    annotation.TextObjectSequence = [
        TextObject(
            text_value=line,
            units=AnnotationUnitsValues.DISPLAY,
            bounding_box=box,
            text_justification=TextJustificationValues.LEFT,
        )
        for line, box in zip(_lines(conclusion), LINE_BOXES, strict=False)
    ]
    region = _shown_region(conclusion)
    if region is not None:
        layer.GraphicLayerDescription = OF_A_REGION
        box = pixel_box(region, rows=source.rows or 0, columns=source.columns or 0)
        uid = tracking_uid(
            source_uid=source.sop_instance_uid, conclusion=conclusion, identity=identity
        )
        annotation.GraphicObjectSequence = [_rectangle(box, uid)]
    state.GraphicAnnotationSequence = [annotation]
    state.GraphicLayerSequence = [layer]


def _shown_region(conclusion: Conclusion) -> Region | None:
    if isinstance(conclusion, Prediction) and conclusion.finding is Finding.PRESENT:
        return conclusion.region
    return None


def _rectangle(box: Box, uid: str) -> GraphicObject:
    """Build a closed rectangle as (column, row) in pixels.

    In graphics (0, 0) is the outer corner of the first pixel, and (Columns, Rows) that of the last
    (PIXEL in PS3.3 table C.10-5), the coordinates of a report's SCOORD (C.18.6.1.1). Only the
    corners of the displayed area are counted from 1.
    """
    left, top, right, bottom = box
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return GraphicObject(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=np.array(corners),
        units=AnnotationUnitsValues.PIXEL,
        tracking_id=OF_A_REGION,
        tracking_uid=uid,
    )


def _lines(conclusion: Conclusion) -> list[str]:
    """Return a line for each of the overlay's findings; for none, one with the reason."""
    if isinstance(conclusion, NotAnalysed):
        return [f"AI: {result_line(conclusion)}. {basis_line(conclusion)}"]
    findings = [result_line(conclusion)]
    if conclusion.other is not None:
        findings.append(other_line(conclusion.other))
    return [f"AI: {finding} (unverified)" for finding in findings]
