"""`lobar analyze`: files in, findings out, without a server; the same bundle, the same numbers."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, Literal

from pydicom import dcmread
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from service.console import file_name
from service.dicom.byte_sources import TooLargeError, TruncatedError, UndecodableError
from service.dicom.element_reader import read_file_meta, read_header
from service.dicom.secondary_capture import SNIFFED_BYTES, PictureError, kind_of, wrap
from service.domain.reasons import EXPLANATIONS, Reason
from service.errors import ExplainedError
from service.settings import Settings
from workers.inference.loading import LoadedInstance, read
from workers.inference.predictor import Predictor, load_predictor
from workers.offline.analysis import Analysis, analysed
from workers.offline.output_folder import Folder
from workers.prediction import Model, NotAnalysable, Prediction
from workers.reporting.output import ReportError

_INFLATED_BYTES: Final = 1 << 30


class OutputDirectoryError(ExplainedError):
    """The directory for the outputs cannot be made."""


def run_analyze(
    settings: Settings, files: Sequence[Path], *, output: Path | None, as_json: bool
) -> int:
    """Analyse the files in batches and print a line or a row for each, in their order.

    Gives the exit status: 1 if a file failed.

    Raises:
        OutputDirectoryError: the output directory cannot be made.
        BundleError: the bundle cannot be used.
    """
    if output is not None:
        _make(output)
    console = Console(stderr=True)
    with console.status("Loading the model"):
        predictor = load_predictor(settings.bundle)
    analyses = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("Analysing", total=len(files))
        for analysis in analyse(settings, predictor, files, output):
            analyses.append(analysis)
            progress.advance(task)
            if as_json:
                print(json.dumps(asdict(analysis)), flush=True)  # noqa: T201 -- for programs
    if not as_json:
        _print_table(analyses)
    return 1 if any(each.outcome == "failed" for each in analyses) else 0


def _make(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputDirectoryError(f"--output {output}: {exc.strerror}") from exc


def analyse(
    settings: Settings, predictor: Predictor, files: Sequence[Path], output: Path | None
) -> Iterator[Analysis]:
    """Give one analysis a file, in their order; the files of a batch share a forward pass."""
    size = settings.infer.batch_size
    folder = None if output is None else Folder(output, now=datetime.now(tz=UTC))
    with ThreadPoolExecutor(settings.infer.decode_threads, "decoder") as decoders:
        for first in range(0, len(files), size):
            batch = files[first : first + size]
            readings = list(decoders.map(partial(_read, predictor), batch))
            legible = [each for each in readings if isinstance(each, LoadedInstance)]
            predictions = iter(_predict(predictor, legible))
            for file, reading in zip(batch, readings, strict=True):
                if isinstance(reading, LoadedInstance):
                    analysis = _conclude(predictor.model, file, reading, next(predictions), folder)
                else:
                    analysis = _conclude(predictor.model, file, None, reading, folder)
                yield _kept(folder, analysis)


def _read(predictor: Predictor, file: Path) -> LoadedInstance | Exception:
    """Read a file, or say what became of it; nothing that a file holds raises here."""
    try:
        kind = _kind_of(file)
        if kind in {"png", "jpeg"}:
            return LoadedInstance(header=wrap(file), prepared=predictor.read(file))
        if kind is None and not _is_bare_data_set(file):
            return PictureError("The file is neither DICOM nor PNG nor JPEG.")
        _require_whole(file)
        return read(predictor, file)
    except Exception as exc:  # noqa: BLE001 -- one bad file must not stop the others
        return exc


def _kind_of(file: Path) -> Literal["dicom", "png", "jpeg"] | None:
    if file.is_fifo() or file.is_char_device():
        raise PictureError("It cannot be read twice: save it as a file first.")
    with file.open("rb") as stream:
        return kind_of(stream.read(SNIFFED_BYTES))


def _require_whole(file: Path) -> None:
    """Hold a file to what the listener holds an instance to: its pixel data is all there.

    Raises:
        NotAnalysable: it is cut off. pydicom would only warn and leave the pixels out.
    """
    try:
        with file.open("rb") as stream:
            part10 = read_file_meta(stream)
            read_header(
                stream,
                str(part10.meta.get("TransferSyntaxUID", "")),
                size_bytes=part10.size_bytes,
                tags=(),
                most_bytes=_INFLATED_BYTES,
            )
    except TruncatedError as exc:
        raise NotAnalysable(Reason.TRUNCATED) from exc
    except (UndecodableError, TooLargeError):
        return  # no preamble, or no such syntax: whoever reads it next will say


def _is_bare_data_set(file: Path) -> bool:
    """Tell whether a file without a preamble is a DICOM data set all the same."""
    try:
        return "SOPClassUID" in dcmread(file, force=True, specific_tags=["SOPClassUID"])
    except Exception:  # noqa: BLE001 -- pydicom raises what arbitrary bytes make it raise
        return False


def _predict(
    predictor: Predictor, readings: Sequence[LoadedInstance]
) -> list[Prediction | Exception]:
    """Predict a batch at once, or one by one if that fails, so that one fails alone.

    A refusal, NotAnalysable, is an answer too.
    """
    try:
        return [*predictor.predict([each.prepared.tensor for each in readings])]
    except Exception as exc:  # noqa: BLE001 -- a model may raise anything
        if len(readings) == 1:
            return [exc]
    return [_predict(predictor, [each])[0] for each in readings]


def _conclude(
    model: Model,
    file: Path,
    reading: LoadedInstance | None,
    said: Prediction | Exception,
    folder: Folder | None,
) -> Analysis:
    """Turn what was read and said of a file into its analysis, and write the outputs."""
    if not isinstance(said, Prediction | NotAnalysable):
        return _failed(file, _what_went_wrong(said, was_read=reading is not None))
    try:
        outputs = [] if folder is None else _tell(model, file, reading, said, folder)
    except ReportError as exc:
        return _failed(file, str(exc))
    except OSError as exc:
        return _failed(file, f"The output cannot be written: {exc.strerror}.")
    except Exception as exc:  # noqa: BLE001 -- one odd header must not stop the others
        return _failed(file, f"No report could be made ({type(exc).__name__}).")
    if isinstance(said, Prediction):
        return analysed(file, said, outputs)
    return Analysis(file=str(file), outcome="not_analysed", reason=said.reason, outputs=outputs)


def _tell(
    model: Model,
    file: Path,
    reading: LoadedInstance | None,
    said: Prediction | NotAnalysable,
    folder: Folder,
) -> list[str]:
    if isinstance(said, NotAnalysable):
        picture = None if reading is None else reading.prepared.picture
        return folder.tell_refusal(file, said, model, picture)
    return [] if reading is None else folder.tell(file, reading, said)


def _kept(folder: Folder | None, analysis: Analysis) -> Analysis:
    """Write the analysis beside its outputs."""
    if folder is None:
        return analysis
    try:
        return folder.keep(analysis)
    except OSError as exc:
        return _failed(Path(analysis.file), f"The output cannot be written: {exc.strerror}.")


def _what_went_wrong(failure: Exception, *, was_read: bool) -> str:
    if was_read:
        return f"The model failed ({type(failure).__name__})."
    if isinstance(failure, PictureError):
        return str(failure)
    words = getattr(failure, "strerror", None) or type(failure).__name__
    return f"The file cannot be read: {words}."


def _failed(file: Path, reason: str) -> Analysis:
    return Analysis(file=str(file), outcome="failed", reason=reason)


def _print_table(analyses: Sequence[Analysis]) -> None:
    table = Table("file", "finding", "probability", "operating point", "why not")
    for each in analyses:
        probability = "" if each.probability is None else f"{each.probability:.3f}"
        table.add_row(
            file_name(Path(each.file)),
            each.finding or each.outcome.replace("_", " "),
            probability,
            each.operating_point or "",
            Text(EXPLANATIONS.get(each.reason, each.reason) if each.reason else ""),  # type: ignore[call-overload]
        )
    console = Console()
    console.print(table)
    console.print("Not a medical device: research use only.")
