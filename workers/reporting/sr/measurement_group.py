"""The measurement group of a report: conclusion, algorithm and source image (PS3.16).

With a region it is a planar region of interest (TID 1410). Without one it is the group for whole
images (TID 1501), whose measurement references a closed line around the image: the line adds no
information, but OHIF shows a black viewport for a report without coordinates.

Where the model reads another abnormality too, the same group has a second evaluation and a second
measurement, both with names of their own: "Certainty of Finding" is that of pneumonia alone.
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
    CERTAINTY_OF_OTHER_ABNORMALITY,
    CLASS_ACTIVATION,
    FINDING_CODES,
    MEASUREMENT_METHOD,
    OTHER_ABNORMALITY,
    PERCENT,
    PNEUMONIA,
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


def build_measurement_group(source: Source, prediction: Prediction, *, tracking_uid: str) -> Group:
    """Build the measurement group of a prediction about a source."""
    algorithm = algorithm_identification(prediction)
    if prediction.region is not None and source.rows and source.columns:
        return _region_group(source, prediction, prediction.region, algorithm, tracking_uid)
    return _whole_image_group(source, prediction, algorithm, tracking_uid)


def algorithm_identification(conclusion: Conclusion) -> AlgorithmIdentification:
    """Build TID 4019: the algorithm, and the parameters needed to reproduce its conclusion."""
    model = conclusion.model
    return AlgorithmIdentification(
        name=ascii_text(model.name),
        version=ascii_text(model.version),
        parameters=parameters_text(conclusion),
        family=ARTIFICIAL_INTELLIGENCE,
    )


def _whole_image_group(
    source: Source, prediction: Prediction, algorithm: AlgorithmIdentification, tracking_uid: str
) -> MeasurementsAndQualitativeEvaluations:
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=tracking_uid, identifier=OF_THE_WHOLE),
        finding_type=_finding(prediction),
        algorithm_id=algorithm,
        measurements=_certainties(prediction, _around_image(source)),
        qualitative_evaluations=_evaluations(prediction),
        source_images=[_source_of_group(source)],
    )


def _region_group(
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
        measurements=_certainties(prediction, None),
        qualitative_evaluations=_evaluations(prediction),
        geometric_purpose=BOUNDED_BY,
    )
    _add_method(group)
    return group


def _finding(prediction: Prediction) -> Code | None:
    """Return the Finding of a positive only: some readers print nothing but Findings.

    It is never the other abnormality, because Certainty of Finding is the probability of pneumonia.
    """
    return PNEUMONIA if prediction.finding is Finding.PRESENT else None


def _evaluations(prediction: Prediction) -> list[QualitativeEvaluation]:
    findings = {PNEUMONIA: prediction.finding}
    if prediction.other is not None:
        findings[OTHER_ABNORMALITY] = prediction.other.finding
    return [
        QualitativeEvaluation(name=name, value=FINDING_CODES[finding])
        for name, finding in findings.items()
    ]


def _certainties(
    prediction: Prediction, coordinates: Sequence[CoordinatesForMeasurement] | None
) -> list[Measurement]:
    """Build the measurements of the probabilities in percent, and the coordinates they refer to.

    Both refer to the same coordinates: earlier releases of OHIF fail at one without.
    """
    probabilities = {CERTAINTY_OF_FINDING: prediction.probability}
    if prediction.other is not None:
        probabilities[CERTAINTY_OF_OTHER_ABNORMALITY] = prediction.other.probability
    return [
        Measurement(
            name=name,
            value=float(percent(probability)),
            unit=PERCENT,
            referenced_coordinates=coordinates,
        )
        for name, probability in probabilities.items()
    ]


def coordinates_of(source: Source, prediction: Prediction) -> list[tuple[float, float]] | None:
    """Return the closed line of the group, as (column, row); None if it has none."""
    if not (source.rows and source.columns):
        return None
    if prediction.region is None:
        return _corners(source, WHOLE_IMAGE)
    return _box(source, prediction.region)


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
    return ImageRegion(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=np.array(_box(source, region)),
        source_image=_source_of_region(source),
    )


def _box(source: Source, region: Region) -> list[tuple[float, float]]:
    """Return the box around a region, with one point more than a rectangle needs.

    OHIF takes a closed line of four corners for a rectangle that was drawn in OHIF and offers to
    continue measuring in it; accepting that hides the region and its measurement.
    """
    first, second, *others = _corners(source, region)
    between = ((first[0] + second[0]) / 2, first[1])
    return [first, between, second, *others]


def _corners(source: Source, region: Region) -> list[tuple[float, float]]:
    """Return a closed rectangle as (column, row); (0, 0) is the first pixel's outer corner."""
    left, top, right, bottom = pixel_box(region, rows=source.rows or 0, columns=source.columns or 0)
    return [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]


def _source_of_group(source: Source) -> SourceImageForMeasurementGroup:
    return SourceImageForMeasurementGroup(source.sop_class_uid, source.sop_instance_uid)


def _source_of_region(source: Source) -> SourceImageForRegion:
    return SourceImageForRegion(source.sop_class_uid, source.sop_instance_uid)


def _add_method(group: PlanarROIMeasurementsAndQualitativeEvaluations) -> None:
    """Insert the method, class activation, after the tracking identifiers.

    highdicom relates a group's method by CONTAINS, where TID 1410 requires HAS CONCEPT MOD.
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
