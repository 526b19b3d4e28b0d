"""The folder that `lobar analyze --output` writes: for each file what the service would send.

For each file there are its analysis (JSON), the report and the overlay (DICOM) and a page to read
(PDF). A PNG or JPEG has become a DICOM instance first, which is written too: report and overlay
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
from workers.reporting.picture import Pixels

KINDS: Final = (OutputKind.SR, OutputKind.OVERLAY, OutputKind.PDF)
_NAME_DIGITS: Final = 8


class Folder:
    """An output folder; everything in it that is about one file has the same beginning."""

    def __init__(self, path: Path, *, now: datetime) -> None:
        self._path = path
        self._now = now

    def tell(self, file: Path, reading: LoadedInstance, prediction: Prediction) -> list[str]:
        """Write what tells a prediction, and give the files' names.

        Raises:
            ReportError: no valid object can be made for this source.
            OSError: the folder cannot be written.
        """
        outputs = make_outputs(
            reading.header, reading.prepared.picture, prediction, kinds=KINDS, now=self._now
        )
        return [*self._source(file), *self._write(file, outputs)]

    def tell_refusal(
        self, file: Path, refusal: NotAnalysable, model: Model, picture: Pixels | None
    ) -> list[str]:
        """Write what tells that a file was not analysed, as far as its header allows.

        Raises:
            OSError: the folder cannot be written.
        """
        if refusal.reason in LEFT_ALONE:
            return []
        conclusion = NotAnalysed(reason=refusal.reason, model=model)
        with contextlib.suppress(NotAnalysable, ReportError):
            header = wrap(file) if _is_picture(file) else read_header(file)
            outputs = make_outputs(header, picture, conclusion, kinds=KINDS, now=self._now)
            return [*self._source(file), *self._write(file, outputs)]
        return []

    def keep(self, analysis: Analysis) -> Analysis:
        """Write an analysis as JSON; gives it with that file among its outputs.

        Raises:
            OSError: the folder cannot be written.
        """
        path = self._named(Path(analysis.file), "json")
        kept = replace(analysis, outputs=[*analysis.outputs, str(path)])
        path.write_text(json.dumps(asdict(kept), indent=2) + "\n")
        return kept

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
        """Name a file after its origin; the digits keep two of one name in two folders apart."""
        digest = hashlib.sha256(str(file.absolute()).encode(errors="surrogateescape")).hexdigest()
        return self._path / f"{file.stem}.{digest[:_NAME_DIGITS]}.{ending}"


def _page(document: Dataset) -> bytes:
    """Give the PDF as a file of its own, for whoever has no viewer for DICOM at hand."""
    content: bytes = document.EncapsulatedDocument
    return content[: document.EncapsulatedDocumentLength]


def _is_picture(file: Path) -> bool:
    with file.open("rb") as stream:
        return kind_of(stream.read(SNIFFED_BYTES)) in {"png", "jpeg"}
