"""The objects that are built for each kind."""

import numpy as np
import pytest
from synthetic.report_sources import MODEL, NOW, predicted, radiograph

from service.dicom.sop_classes import RESULT_SOP_CLASSES
from service.domain.reasons import Reason
from service.domain.routing import OutputKind
from workers.prediction import Conclusion, NotAnalysed
from workers.reporting.outputs import make_outputs

PIXELS = np.zeros((25, 20), dtype=np.float32)


@pytest.mark.parametrize(
    "conclusion",
    [predicted(), NotAnalysed(reason=Reason.NOT_CHEST, model=MODEL)],
    ids=["predicted", "not analysed"],
)
def test_each_kind_gives_one_object_of_its_class(conclusion: Conclusion) -> None:
    made = list(make_outputs(radiograph(), PIXELS, conclusion, kinds=set(OutputKind), now=NOW))
    assert {each.kind for each in made} == set(OutputKind)
    assert len(made) == len(OutputKind)
    for each in made:
        assert RESULT_SOP_CLASSES[each.sop_class_uid] is each.kind
    names = {each.sop_instance_uid for each in made}
    series = {each.dataset.SeriesInstanceUID for each in made}
    numbers = {int(each.dataset.SeriesNumber) for each in made}
    assert len(names) == len(series) == len(numbers) == len(made)


@pytest.mark.parametrize("kind", OutputKind)
def test_only_the_requested_kind_is_built(kind: OutputKind) -> None:
    (made,) = make_outputs(radiograph(), PIXELS, predicted(), kinds={kind}, now=NOW)
    assert made.kind is kind


def test_a_source_in_colour_has_all_but_a_presentation_state() -> None:
    source = radiograph("SC", PhotometricInterpretation=b"RGB")
    made = make_outputs(source, PIXELS, predicted(), kinds=set(OutputKind), now=NOW)
    assert {each.kind for each in made} == set(OutputKind) - {OutputKind.GSPS}
