"""The content tree of a report about an instance that was not analysed (PS3.16 TID 2000).

It is not a measurement report, so that software which looks for measurements does not find an
empty one. OHIF draws measurement reports on the image and shows nothing of one without
measurements; it prints this report as text. The report states nothing about pneumonia.
"""

from highdicom.sr import (
    CodeContentItem,
    ContainerContentItem,
    ContentSequence,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from workers.prediction import NotAnalysed
from workers.reporting.codes import (
    CONCLUSION,
    CONCLUSIONS,
    DIAGNOSTIC_IMAGING_REPORT,
    ENGLISH,
    NO_ALGORITHM_SUCCEEDED,
    NOT_ANALYSED_BECAUSE,
    PROCESSING_SUMMARY,
    SOURCE,
    reason_code,
)
from workers.reporting.source import Source
from workers.reporting.sr.measurement_group import algorithm_identification
from workers.reporting.sr.measurement_report import (
    build_container,
    build_observation_context,
    set_separate_continuity,
)
from workers.reporting.wording import CAUTION, basis_line, result_line

CONTAINS = RelationshipTypeValues.CONTAINS


def build_not_analysed_report(source: Source, conclusion: NotAnalysed) -> Dataset:
    """Build the root of the content tree, the reason first."""
    root = ContainerContentItem(name=DIAGNOSTIC_IMAGING_REPORT, template_id="2000")
    section = build_container(
        CONCLUSIONS,
        _coded(NOT_ANALYSED_BECAUSE, reason_code(conclusion.reason)),
        _coded(PROCESSING_SUMMARY, NO_ALGORITHM_SUCCEEDED),
        TextContentItem(
            name=CONCLUSION,
            value=f"{result_line(conclusion)}. {basis_line(conclusion)} {CAUTION}",
            relationship_type=CONTAINS,
        ),
        ImageContentItem(
            name=SOURCE,
            referenced_sop_class_uid=source.sop_class_uid,
            referenced_sop_instance_uid=source.sop_instance_uid,
            relationship_type=CONTAINS,
        ),
    )
    section.ContentSequence.extend(algorithm_identification(conclusion))
    root.ContentSequence = ContentSequence(
        [
            *LanguageOfContentItemAndDescendants(ENGLISH),
            *build_observation_context(conclusion.model),
            section,
        ],
        is_root=False,
    )
    set_separate_continuity(root)
    return root


def _coded(name: Code, value: Code) -> CodeContentItem:
    return CodeContentItem(name=name, value=value, relationship_type=CONTAINS)
