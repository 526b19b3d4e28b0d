import re
from pathlib import Path
from typing import Final

import pytest

from service.demo.run import SAMPLES
from service.settings import SHIPPED_BUNDLE
from workers.inference.loading import read
from workers.inference.predictor import Predictor
from workers.prediction import Prediction

README: Final = Path(__file__).resolve().parents[3] / "README.md"


def test_the_readme_shows_the_table_that_the_demonstration_ends_with() -> None:
    rows = re.findall(r"^  (\S+\.dcm)\s+(\w+)\s+([\d.]+)\s", README.read_text(), re.MULTILINE)
    files = sorted(SAMPLES.glob("*.dcm"))
    assert [name for name, *_ in rows] == [file.name for file in files]
    predictor = Predictor(SHIPPED_BUNDLE, device="cpu")
    instances = [read(predictor, file) for file in files]
    answers = predictor.predict(
        [each.prepared.tensor for each in instances], [each.age_years for each in instances]
    )
    predictions = [each for each in answers if isinstance(each, Prediction)]
    assert len(predictions) == len(answers)
    assert [finding for _, finding, _ in rows] == [each.finding for each in predictions]
    # other processors and threads add in another order
    shown = [float(probability) for *_, probability in rows]
    assert shown == pytest.approx([each.probability for each in predictions], abs=0.005)
