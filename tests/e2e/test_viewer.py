"""How OHIF, a viewer that is not configured for Lobar, shows Lobar's results.

The pictures are kept in `runs/viewer`, to be looked at.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from peers.orthanc import OrthancServer
from peers.viewer import PAPER, Line, OpenStudy, Pixels, lit
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from synthetic.objects import make_cr
from synthetic.part10 import part10
from synthetic.report_sources import MODEL, NOW, predicted

from service.domain.reasons import Reason
from service.domain.routing import OutputKind
from workers.prediction import Conclusion, Finding, NotAnalysed, Prediction, Region
from workers.reporting.output import Output
from workers.reporting.outputs import make_outputs

pytestmark = [pytest.mark.orthanc, pytest.mark.ohif]

PICTURES: Final = Path(__file__).resolve().parents[2] / "runs" / "viewer"
ROWS, COLUMNS = 384, 320
WHOLE: Final = Region(top=0, left=0, bottom=1, right=1)
LEFT_LUNG: Final = Region(top=0.3, left=0.55, bottom=0.7, right=0.9)
CONCLUSIONS: Final[dict[str, Conclusion]] = {
    "present": Prediction(
        finding=Finding.PRESENT, probability=0.873, model=MODEL, region=LEFT_LUNG
    ),
    "absent": predicted(Finding.ABSENT),
    "indeterminate": predicted(Finding.INDETERMINATE),
    "not-analysed": NotAnalysed(reason=Reason.LATERAL, model=MODEL),
    "absent-but-abnormal": predicted(Finding.ABSENT, other=Finding.PRESENT),
    "present-and-abnormal": replace(
        predicted(Finding.PRESENT, other=Finding.PRESENT), region=LEFT_LUNG
    ),
}
OTHER_LABEL: Final = "Other abnormality: 91.20 %"
LABELS: Final = {
    "present": ["Certainty of Finding: 87.30 %"],
    "absent": ["Certainty of Finding: 3.20 %"],
    "indeterminate": ["Certainty of Finding: 51.00 %"],
    "not-analysed": ["Reason not analysed: Lateral view"],
    "absent-but-abnormal": ["Certainty of Finding: 3.20 %", OTHER_LABEL],
    "present-and-abnormal": ["Certainty of Finding: 87.30 %", OTHER_LABEL],
}
BOXES: Final = {
    "present": LEFT_LUNG,
    "absent": WHOLE,
    "indeterminate": WHOLE,
    "absent-but-abnormal": WHOLE,
    "present-and-abnormal": LEFT_LUNG,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What OHIF showed for one outcome."""

    outcome: str
    radiograph: Pixels
    report: Pixels
    overlay: Pixels
    overlay_made: Pixels
    page: Pixels
    words: str  # in the viewport with the report
    lines: list[Line]  # drawn over the radiograph there
    layer_size: tuple[float, float]
    notices: list[str]
    complaints: list[str]
    asked_elsewhere: list[str]


@pytest.fixture(
    scope="module",
    params=[
        # of the ordinary run: a report with a region and a report without a number
        "present",
        "not-analysed",
        pytest.param("absent", marks=pytest.mark.full),
        pytest.param("indeterminate", marks=pytest.mark.full),
        pytest.param("absent-but-abnormal", marks=pytest.mark.full),
        pytest.param("present-and-abnormal", marks=pytest.mark.full),
    ],
)
def seen(
    request: pytest.FixtureRequest,
    _shared_orthanc_dicomweb: OrthancServer,
    open_study: Callable[[str], OpenStudy],
) -> Seen:
    """Open each outcome once: the radiograph and all its outputs."""
    _shared_orthanc_dicomweb.start()
    source = make_cr(rows=ROWS, columns=COLUMNS)
    source.PatientID = request.param  # else OHIF shows the other outcomes as prior studies
    made = results(source, CONCLUSIONS[request.param])
    for file in (part10(source), *(each.encode() for each in made.values())):
        _shared_orthanc_dicomweb.keep(file)
    return look(request.param, open_study(source.StudyInstanceUID), made)


def results(source: Dataset, conclusion: Conclusion) -> dict[OutputKind, Output]:
    """Return every output that can be made for a radiograph."""
    header = dcmread(BytesIO(part10(source)), stop_before_pixels=True)
    pixels = (source.pixel_array / (2**source.BitsStored - 1)).astype(np.float32)
    made = make_outputs(header, pixels, conclusion, kinds=set(OutputKind), now=NOW)
    return {each.kind: each for each in made}


def look(outcome: str, study: OpenStudy, made: dict[OutputKind, Output]) -> Seen:
    PICTURES.mkdir(parents=True, exist_ok=True)
    names = {kind: each.dataset.SeriesDescription for kind, each in made.items()}
    radiograph = study.picture(PICTURES / f"{outcome}-radiograph.png")
    study.open_report(names[OutputKind.SR])
    report = study.picture(PICTURES / f"{outcome}-report.png")
    words, lines, notices = study.words, study.lines(), study.notices
    layer_size = study.layer_size() if lines else (0, 0)
    study.open_image(names[OutputKind.OVERLAY])
    overlay = study.picture(PICTURES / f"{outcome}-overlay.png")
    study.open_page(names[OutputKind.PDF])
    return Seen(
        outcome=outcome,
        radiograph=radiograph,
        report=report,
        overlay=overlay,
        overlay_made=made[OutputKind.OVERLAY].dataset.pixel_array,
        page=study.picture(PICTURES / f"{outcome}-page.png"),
        words=words,
        lines=lines,
        layer_size=layer_size,
        notices=notices,
        complaints=study.complaints,
        asked_elsewhere=study.asked_elsewhere,
    )


def test_the_report_says_its_number_or_why_there_is_none(seen: Seen) -> None:
    for label in LABELS[seen.outcome]:
        assert label in seen.words


def test_the_region_is_drawn_where_the_report_has_it(seen: Seen) -> None:
    if seen.outcome not in BOXES:
        assert seen.lines == []
        return
    (line,) = set(map(tuple, seen.lines))  # of both numbers, where two refer to the whole image
    width, height = seen.layer_size
    scale = min(width / COLUMNS, height / ROWS)  # OHIF centres the whole image
    left, top = (width - COLUMNS * scale) / 2, (height - ROWS * scale) / 2
    x, y = np.array(line).T
    box = BOXES[seen.outcome]
    drawn = [x.min(), y.min(), x.max(), y.max()]
    meant = [
        left + box.left * COLUMNS * scale,
        top + box.top * ROWS * scale,
        left + box.right * COLUMNS * scale,
        top + box.bottom * ROWS * scale,
    ]
    assert np.allclose(drawn, meant, atol=2)


def test_nothing_is_black(seen: Seen) -> None:
    assert lit(seen.radiograph) > 0.1
    assert lit(seen.report) > 0.01  # a page of text is mostly background
    assert lit(seen.overlay) > 0.1


def test_the_page_can_be_read(seen: Seen) -> None:
    assert lit(seen.page, PAPER) > 0.1


def test_the_overlay_looks_as_it_was_made(seen: Seen) -> None:
    rows, columns = seen.overlay.shape[:2]
    made_rows, made_columns = seen.overlay_made.shape[:2]
    scale = min(rows / made_rows, columns / made_columns)
    size = (round(made_columns * scale), round(made_rows * scale))
    made = np.asarray(Image.fromarray(seen.overlay_made).resize(size))
    top, left = (rows - size[1]) // 2, (columns - size[0]) // 2
    shown = seen.overlay[top : top + size[1], left : left + size[0]]
    assert np.corrcoef(made.ravel(), shown.ravel())[0, 1] > 0.95


def test_the_viewer_shows_neither_question_nor_warning(seen: Seen) -> None:
    # such as whether to track the region: then OHIF takes it for its own and loses it
    assert seen.notices == []
    assert seen.complaints == []


def test_the_browser_contacts_no_host_but_the_gateway(seen: Seen) -> None:
    assert seen.asked_elsewhere == []
