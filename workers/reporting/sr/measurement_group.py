"""The one measurement group of a report: what was concluded, by which algorithm, from what.

A region makes it a planar region of interest (TID 1410). Without one it is the variant for whole
images (TID 1501), below whose number hangs a closed line around the image: it says no more than
that, but OHIF shows a black viewport for a report without coordinates.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CoordinatesForMeasurement,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TrackingIdentifier,
)
from pydicom.sr.coding import Code

from workers.prediction import Conclusion, Finding, Prediction, Region
from workers.reporting.codes import (
    ARTIFICIAL_INTELLIGENCE,
    BOUNDED_BY,
    CERTAINTY_OF_FINDING,
    CLASS_ACTIVATION,
    MEASUREMENT_METHOD,
    PERCENT,
    PNEUMONIA,
    READING,
)
from workers.reporting.geometry import pixel_box
from workers.reporting.source import Source
from workers.reporting.wording import (
    OF_A_REGION,
    OF_THE_WHOLE,
    ascii_text,
    parameters_text,
    percent,
)

WHOLE_IMAGE: Final = Region(top=0, left=0, bottom=1, right=1)

Group = MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations


def measurement_group(source: Source, prediction: Prediction, *, tracking_uid: str) -> Group:
    """Give the measurement group that says what the model said about a source."""
    algorithm = algorithm_identification(prediction)
    if prediction.region is not None and source.rows and source.columns:
        return _of_region(source, prediction, prediction.region, algorithm, tracking_uid)
    return _of_whole(source, prediction, algorithm, tracking_uid)


def algorithm_identification(conclusion: Conclusion) -> AlgorithmIdentification:
    """Give TID 4019: which algorithm concluded, and what must be known to reproduce it."""
    model = conclusion.model
    return AlgorithmIdentification(
        name=ascii_text(model.name),
        version=ascii_text(model.version),
        parameters=parameters_text(conclusion),
        family=ARTIFICIAL_INTELLIGENCE,
    )


def _of_whole(
    source: Source, prediction: Prediction, algorithm: AlgorithmIdentification, tracking_uid: str
) -> MeasurementsAndQualitativeEvaluations:
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=tracking_uid, identifier=OF_THE_WHOLE),
        finding_type=_finding(prediction),
        algorithm_id=algorithm,
        measurements=[_certainty(prediction, _around_image(source))],
        qualitative_evaluations=[_reading(prediction)],
        source_images=[_source_of_group(source)],
    )


def _of_region(
    source: Source,
    prediction: Prediction,
    region: Region,
    algorithm: AlgorithmIdentification,
    tracking_uid: str,
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    group = PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=tracking_uid, identifier=OF_A_REGION),
        referenced_region=_image_region(source, region),
        finding_type=_finding(prediction),
        algorithm_id=algorithm,
        measurements=[_certainty(prediction, None)],
        qualitative_evaluations=[_reading(prediction)],
        geometric_purpose=BOUNDED_BY,
    )
    _add_method(group)
    return group


def _finding(prediction: Prediction) -> Code | None:
    """Only a positive carries a Finding: who prints nothing else cannot turn a negative round."""
    return PNEUMONIA if prediction.finding is Finding.PRESENT else None


def _reading(prediction: Prediction) -> QualitativeEvaluation:
    return QualitativeEvaluation(name=PNEUMONIA, value=READING[prediction.finding])


def _certainty(
    prediction: Prediction, coordinates: Sequence[CoordinatesForMeasurement] | None
) -> Measurement:
    """Give the probability in percent, and what of the image it is inferred from."""
    return Measurement(
        name=CERTAINTY_OF_FINDING,
        value=float(percent(prediction.probability)),
        unit=PERCENT,
        referenced_coordinates=coordinates,
    )


def _around_image(source: Source) -> list[CoordinatesForMeasurement] | None:
    if source.rows is None or source.columns is None:
        return None
    return [
        CoordinatesForMeasurement(
            graphic_type=GraphicTypeValues.POLYLINE,
            graphic_data=np.array(_corners(source, WHOLE_IMAGE)),
            source_image=_source_of_region(source),
        )
    ]


def _image_region(source: Source, region: Region) -> ImageRegion:
    """Give the box around a region, with one point more than a rectangle needs.

    OHIF takes a closed line of four corners for a rectangle of its own making and offers to go on
    measuring in it; whoever accepts loses the region and its number from sight.
    """
    first, second, *others = _corners(source, region)
    between = ((first[0] + second[0]) / 2, first[1])
    return ImageRegion(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=np.array([first, between, second, *others]),
        source_image=_source_of_region(source),
    )


def _corners(source: Source, region: Region) -> list[tuple[float, float]]:
    """Give a closed rectangle as column, row; 0, 0 is the first pixel's outer corner."""
    left, top, right, bottom = pixel_box(region, rows=source.rows or 0, columns=source.columns or 0)
    return [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]


def _source_of_group(source: Source) -> SourceImageForMeasurementGroup:
    return SourceImageForMeasurementGroup(source.sop_class_uid, source.sop_instance_uid)


def _source_of_region(source: Source) -> SourceImageForRegion:
    return SourceImageForRegion(source.sop_class_uid, source.sop_instance_uid)


def _add_method(group: PlanarROIMeasurementsAndQualitativeEvaluations) -> None:
    """Say that the region is one of class activation, after the tracking identifiers.

    By hand, because highdicom relates a group's method by CONTAINS, where TID 1410 has it modify
    the concept.
    """
    method = CodeContentItem(
        name=MEASUREMENT_METHOD,
        value=CLASS_ACTIVATION,
        relationship_type=RelationshipTypeValues.HAS_CONCEPT_MOD,
    )
    items = group[0].ContentSequence
    first_statement = next(
        position
        for position, item in enumerate(items)
        if item.RelationshipType != RelationshipTypeValues.HAS_OBS_CONTEXT.value
    )
    items.insert(first_statement, method)
