"""Odd and hostile files that people reported in public are shown, or refused with a coded reason.

They are those of `../shared/data/cases`; each goes through a decoder as in the web process.
"""

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from PIL import Image
from support.system.radiographs import FOLDER

from service.decoding import DecoderPool, Template
from service.decoding.pixel_data import UnshowableError
from service.decoding.radiograph import Radiographs
from service.decoding.web_handler import WebHandler
from service.domain.reasons import Reason
from service.settings import DecodingSettings

pytestmark = pytest.mark.data

CASES: Final = FOLDER / "cases"
REFUSED: Final = frozenset(
    {
        *(Reason.UNDECODABLE, Reason.NO_PIXELS, Reason.SIZE, Reason.CODESTREAM),
        *(Reason.PIXELS_UNREADABLE, Reason.PIXEL_FORMAT, Reason.DECODER_CRASHED),
        *(Reason.DECODER_TIMEOUT, Reason.DECODER_OUT_OF_MEMORY),
    }
)


@pytest.fixture(scope="module")
def radiographs() -> Iterator[Radiographs]:
    with (
        closing(Template(WebHandler())) as template,
        closing(DecoderPool(template, DecodingSettings(), 2)) as pool,
    ):
        yield Radiographs(pool)


def shown(radiographs: Radiographs, path: Path) -> bytes | Reason:
    try:
        return bytes(radiographs.picture(path))
    except UnshowableError as error:
        return error.reason


@pytest.mark.parametrize("path", sorted(CASES.glob("*.dcm")), ids=lambda path: path.stem)
def test_a_case_is_shown_with_its_tones_or_refused(path: Path, radiographs: Radiographs) -> None:
    found = shown(radiographs, path)
    if isinstance(found, Reason):
        assert found in REFUSED
        return
    picture = np.asarray(Image.open(io.BytesIO(found)))
    assert picture.ndim == 2
    assert picture.std() > 20, "it shows something"
    description = radiographs.sampled(path, compressed=True).description
    assert (description["rows"], description["columns"]) == picture.shape


@pytest.mark.parametrize("path", sorted(CASES.glob("hostile/*.dcm")), ids=lambda path: path.stem)
def test_a_hostile_file_is_refused_and_the_next_one_is_shown(
    path: Path, radiographs: Radiographs
) -> None:
    with pytest.raises(UnshowableError) as refused:
        radiographs.sampled(path)
    assert refused.value.reason in REFUSED
    assert radiographs.description(CASES / "plain__0006-12bit.dcm")["rows"] == 448
