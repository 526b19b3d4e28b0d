"""Predict files as an infer worker does, in a process of its own, and say whether it has torch.

    python -m support.predicting_process FILE…

The settings come from the environment.
"""

import json
import sys
from contextlib import closing
from pathlib import Path

from service.decoding import DecoderPool, Template
from service.settings import read_settings
from workers.inference.decoders import DecodingReader, RadiographHandler
from workers.inference.engines.loader import PredictorLoader
from workers.prediction import NotAnalysable


def main(files: list[Path]) -> None:
    """Print what is predicted for each file, and what is imported."""
    settings = read_settings()
    loader = PredictorLoader(settings)
    with (
        closing(Template(RadiographHandler(settings.bundle.path))) as template,
        closing(DecoderPool(template, settings.decoding, 1)) as pool,
        closing(DecoderPool(template, settings.decoding, 1)) as concluding,
    ):
        predictor = loader.load(DecodingReader(pool), concluding)
        found = predictor.predict([predictor.read(each).tensor for each in files], None)
    print(  # noqa: T201 -- what the test reads
        json.dumps(
            {
                "found": [
                    str(each.reason)
                    if isinstance(each, NotAnalysable)
                    else [each.probability, str(each.finding), each.region is not None]
                    for each in found
                ],
                "torch": "torch" in sys.modules,
                "monai": "monai" in sys.modules,
            }
        )
    )


if __name__ == "__main__":
    main([Path(each) for each in sys.argv[1:]])
