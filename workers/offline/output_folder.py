"""The folder that `lobar analyze --output` writes: for each file the outputs of the service.

For each file there are its analysis (JSON), the report and the overlay (DICOM) and a page to read
(PDF). A PNG or JPEG becomes a DICOM instance first, which is written too: report and overlay
refer to it.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from service.dicom.secondary_capture import SNIFFED_BYTES, kind_of, wrap
from service.domain.reasons import LEFT_ALONE
from service.domain.routing import OutputKind
from workers.inference.loading import LoadedInstance, read_header
from workers.offline.analysis import Analysis
from workers.prediction import Model, NotAnalysable, NotAnalysed, Prediction
from workers.reporting.output import Output, ReportError
from workers.reporting.outputs import make_outputs
from workers.reporting.picture import Shown

KINDS: Final = (OutputKind.SR, OutputKind.OVERLAY, OutputKind.PDF)
_NAME_DIGITS: Final = 8


class OutputFolder:
    """An output folder; all names of files about one source begin alike."""

    def __init__(self, path: Path, *, now: datetime) -> None:
        self._path = path
        self._now = now

    def write_prediction(
        self, file: Path, instance: LoadedInstance, prediction: Prediction
    ) -> list[str]:
        """Write the outputs of a prediction and return their paths.

        Raises:
            ReportError: no valid object can be made for this source.
            OSError: the folder cannot be written.
        """
        outputs = make_outputs(
            instance.header,
            instance.shown.picture,
            prediction,
            kinds=KINDS,
            now=self._now,
            tones=instance.shown.tones,
        )
        return [*self._source(file), *self._write(file, outputs)]

    def write_not_analysed(
        self, file: Path, refusal: NotAnalysable, model: Model, shown: Shown | None
    ) -> list[str]:
        """Write the outputs of a file that was not analysed, as far as its header allows.

        Args:
            file: the source.
            refusal: why it was not analysed.
            model: the model that did not analyse it.
            shown: the pixels and how they are shown; None if they could not be decoded.

        Returns:
            The paths written; none for reports, our own results and unusable headers.

        Raises:
            OSError: the folder cannot be written.
        """
        if refusal.reason in LEFT_ALONE:
            return []
        conclusion = NotAnalysed(reason=refusal.reason, model=model)
        with contextlib.suppress(NotAnalysable, ReportError):
            header = wrap(file) if _is_picture(file) else read_header(file)
            outputs = make_outputs(
                header,
                shown.picture if shown else None,
                conclusion,
                kinds=KINDS,
                now=self._now,
                tones=shown.tones if shown else None,
            )
            return [*self._source(file), *self._write(file, outputs)]
        return []

    def write_analysis(self, analysis: Analysis) -> Analysis:
        """Write an analysis as JSON and return it with that file among its outputs.

        Raises:
            OSError: the folder cannot be written.
        """
        path = self._named(Path(analysis.file), "json")
        written = replace(analysis, outputs=[*analysis.outputs, str(path)])
        path.write_text(json.dumps(asdict(written), indent=2) + "\n")
        return written

    def _source(self, file: Path) -> list[str]:
        if not _is_picture(file):
            return []
        path = self._named(file, "source.dcm")
        wrap(file).save_as(path, enforce_file_format=True)
        return [str(path)]

    def _write(self, file: Path, outputs: Iterable[Output]) -> list[str]:
        written = []
        for output in outputs:
            if output.kind is OutputKind.PDF:
                path, content = self._named(file, "pdf"), _page(output.dataset)
            else:
                path, content = self._named(file, f"{output.kind}.dcm"), output.encode()
            path.write_bytes(content)
            written.append(str(path))
        return written

    def _named(self, file: Path, ending: str) -> Path:
        """Name a file after its source; the digits tell sources of one name apart."""
        digest = hashlib.sha256(str(file.absolute()).encode(errors="surrogateescape")).hexdigest()
        return self._path / f"{file.stem}.{digest[:_NAME_DIGITS]}.{ending}"


def _page(document: Dataset) -> bytes:
    """Return the PDF of an Encapsulated PDF, to be read without a DICOM viewer."""
    content: bytes = document.EncapsulatedDocument
    return content[: document.EncapsulatedDocumentLength]


def _is_picture(file: Path) -> bool:
    with file.open("rb") as stream:
        return kind_of(stream.read(SNIFFED_BYTES)) in {"png", "jpeg"}
