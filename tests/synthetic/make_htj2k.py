"""Regenerate the HTJ2K codestreams of the default picture.

They are kept in the repository, so that every version of the encoder (OpenJPH, in imagecodecs) is
tested with the same bytes. To make them anew:

    PYTHONPATH=tests python tests/synthetic/make_htj2k.py
"""

import hashlib
from pathlib import Path

import imagecodecs
import numpy as np

from synthetic.pictures import chest

FOLDER = Path(__file__).parent / "htj2k"

picture = chest(384, 320, 12).astype("<u2")
# OpenJPH writes the progression order RPCL; with the TLM marker and a lowest resolution of at most
# 64 pixels, the lossless codestream is also one for the "RPCL options" syntax (PS3.5 8.2.14)
lossless = imagecodecs.htj2k_encode(picture, reversible=True, resolutions=5, tlm=True)
lossy = imagecodecs.htj2k_encode(picture, reversible=False, level=0.0002, resolutions=5, tlm=True)
FOLDER.mkdir(exist_ok=True)
(FOLDER / "lossless.j2c").write_bytes(lossless)
(FOLDER / "lossy.j2c").write_bytes(lossy)
(FOLDER / "picture.sha256").write_text(hashlib.sha256(picture.tobytes()).hexdigest() + "\n")
assert np.array_equal(imagecodecs.htj2k_decode(lossless), picture)
