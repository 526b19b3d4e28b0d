"""What a report says of an instance that was not analysed, as PS3.16 TID 2000 has it.

It is no measurement report, so that nothing which looks for measurements finds an empty one; and
OHIF, which draws measurement reports on the image and shows nothing of one without measurements,
prints this one as text. Of pneumonia it says nothing at all.
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
from workers.reporting.sr.measurement_report import container, observed_by, separate
from workers.reporting.wording import CAUTION, basis_line, result_line

CONTAINS = RelationshipTypeValues.CONTAINS


def refusal_report(source: Source, refusal: NotAnalysed) -> Dataset:
    """Give the root of the content tree; what matters most stands first."""
    root = ContainerContentItem(name=DIAGNOSTIC_IMAGING_REPORT, template_id="2000")
    section = container(
        CONCLUSIONS,
        _coded(NOT_ANALYSED_BECAUSE, reason_code(refusal.reason)),
        _coded(PROCESSING_SUMMARY, NO_ALGORITHM_SUCCEEDED),
        TextContentItem(
            name=CONCLUSION,
            value=f"{result_line(refusal)}. {basis_line(refusal)} {CAUTION}",
            relationship_type=CONTAINS,
        ),
        ImageContentItem(
            name=SOURCE,
            referenced_sop_class_uid=source.sop_class_uid,
            referenced_sop_instance_uid=source.sop_instance_uid,
            relationship_type=CONTAINS,
        ),
    )
    section.ContentSequence.extend(algorithm_identification(refusal))
    root.ContentSequence = ContentSequence(
        [*LanguageOfContentItemAndDescendants(ENGLISH), *observed_by(refusal.model), section],
        is_root=False,
    )
    separate(root)
    return root


def _coded(name: Code, value: Code) -> CodeContentItem:
    return CodeContentItem(name=name, value=value, relationship_type=CONTAINS)
