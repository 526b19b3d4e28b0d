import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmwrite

from service.dicom.secondary_capture import wrap

pytestmark = pytest.mark.slow

BUNDLE = Path(__file__).resolve().parents[4] / "monai_bundle"
COMPARING = """
import sys
from pathlib import Path
import numpy as np
from scripts.preprocessing.load import read_radiograph
for picture in sorted(Path(sys.argv[1]).glob("*.picture")):
    given = read_radiograph(picture.read_bytes())
    wrapped = read_radiograph(picture.with_suffix(".dcm").read_bytes())
    print(picture.stem, np.array_equal(given, wrapped))
"""


def test_the_bundle_reads_a_picture_and_its_instance_alike_to_the_last_bit(tmp_path: Path) -> None:
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
        (tmp_path / f"{name}.picture").write_bytes(stream.getvalue())
        instance = wrap(stream.getvalue())
        dcmwrite(tmp_path / f"{name}.dcm", instance, enforce_file_format=True)
    compared = subprocess.run(
        [sys.executable, "-c", COMPARING, tmp_path], cwd=BUNDLE, check=True, capture_output=True
    )
    assert compared.stdout.decode().splitlines() == [f"{name} True" for name in pictures]
