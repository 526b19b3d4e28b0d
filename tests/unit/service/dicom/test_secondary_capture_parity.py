import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmwrite
from support.importable_bundle import the_bundle_that_was_importable_before

from service.dicom.secondary_capture import wrap

__all__ = ["the_bundle_that_was_importable_before"]

pytestmark = pytest.mark.slow

BUNDLE = Path(__file__).resolve().parents[4] / "monai_bundle"


def test_the_bundle_reads_a_picture_and_its_instance_alike_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BUNDLE))
    from scripts.preprocessing.load import read_radiograph  # noqa: PLC0415 -- of this bundle

    rng = np.random.default_rng(11)
    grey = Image.fromarray(rng.integers(0, 256, (90, 101), dtype=np.uint8))
    colours = Image.fromarray(rng.integers(0, 256, (90, 101, 4), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 8
    pictures = {
        "cmyk": (colours.convert("CMYK"), "JPEG", {}),
        "colour": (colours.convert("RGB"), "PNG", {}),
        "deep": (Image.fromarray(rng.integers(0, 65536, (90, 101), dtype=np.uint16)), "PNG", {}),
        "grey": (grey, "PNG", {}),
        "jpeg": (colours.convert("RGB"), "JPEG", {}),
        "palette": (colours.convert("RGB").quantize(64), "PNG", {}),
        "through": (colours, "PNG", {}),
        "turned": (grey, "JPEG", {"exif": turned}),
        "two": (grey.point(lambda value: 255 * (value > 99), "1"), "PNG", {}),
    }
    for name, (image, kind, options) in pictures.items():
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        instance = io.BytesIO()
        dcmwrite(instance, wrap(stream.getvalue()), enforce_file_format=True)
        given, wrapped = (read_radiograph(each.getvalue()) for each in (stream, instance))
        assert np.array_equal(given, wrapped), name
