"""`lobar analyze`: analyse files without a server, with the same bundle and the same numbers."""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final, Literal

from pydicom import dcmread
from pydicom.dataset import Dataset
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from service.console import file_name
from service.decoding import DecoderPool, Template
from service.dicom.byte_sources import TooLargeError, TruncatedError, UndecodableError
from service.dicom.element_reader import read_file_meta, read_header
from service.dicom.secondary_capture import SNIFFED_BYTES, PictureError, kind_of, wrap
from service.domain.reasons import EXPLANATIONS, Reason
from service.errors import ExplainedError
from service.settings import BundleSettings, Settings
from workers.inference.decoders import DecodingReader, RadiographHandler
from workers.inference.loading import LoadedInstance, Reader, load_with, read
from workers.inference.pins import verify
from workers.inference.predictor import Predictor, load_predictor
from workers.offline.analysis import Analysis, analysed
from workers.offline.output_folder import OutputFolder
from workers.prediction import Model, NotAnalysable, Prediction
from workers.reporting.output import ReportError

_INFLATED_BYTES: Final = 1 << 30


class OutputDirectoryError(ExplainedError):
    """The directory for the outputs cannot be made."""


def run_analyze(
    settings: Settings,
    files: Sequence[Path],
    *,
    output: Path | None,
    as_json: bool,
    load: Callable[[BundleSettings], Predictor] = load_predictor,
) -> int:
    """Analyse files in batches and print a line or a row for each, in their order.

    Args:
        settings: name the bundle and the batch size.
        files: DICOM, PNG or JPEG.
        output: the directory for the outputs; none are written without it.
        as_json: print one JSON object per file instead of a table.
        load: loads the bundle.

    Returns:
        The exit status: 1 if a file failed.

    Raises:
        OutputDirectoryError: the output directory cannot be made.
        BundleError: the bundle cannot be used.
    """
    verify(settings.bundle)
    folder = None
    if output is not None:
        _make_directory(output)
        folder = OutputFolder(output, now=datetime.now(tz=UTC))
    console = Console(stderr=True)
    template = Template(RadiographHandler(settings.bundle.path))  # before the first thread
    with console.status("Loading the model"):
        predictor = load(settings.bundle)
    analyses = []
    with (
        closing(template),
        closing(DecoderPool(template, settings.decoding, settings.infer.decode_threads)) as pool,
        Progress(console=console, transient=True) as progress,
    ):
        task = progress.add_task("Analysing", total=len(files))
        reader = DecodingReader(pool)
        for analysis in analyse(settings, predictor, files, folder, reader):
            analyses.append(analysis)
            progress.advance(task)
            if as_json:
                print(json.dumps(asdict(analysis)), flush=True)  # noqa: T201 -- for programs
    if not as_json:
        _print_table(analyses)
    return 1 if any(each.outcome == "failed" for each in analyses) else 0


def _make_directory(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputDirectoryError(f"--output {output}: {exc.strerror}") from exc


def analyse(
    settings: Settings,
    predictor: Predictor,
    files: Sequence[Path],
    folder: OutputFolder | None = None,
    reader: DecodingReader | None = None,
) -> Iterator[Analysis]:
    """Yield one analysis per file, in their order; the files of a batch share a forward pass.

    Pixels and pictures are read by `reader`, or in this process where there is none.
    """
    size = settings.infer.batch_size
    is_shown = folder is not None
    if reader is None:
        load = partial(_load, predictor, wrap, is_shown=is_shown)
    else:
        load = partial(_load, reader, reader.convert, is_shown=is_shown)
    with ThreadPoolExecutor(settings.infer.decode_threads, "decoder") as decoders:
        for first in range(0, len(files), size):
            batch = files[first : first + size]
            loaded = list(decoders.map(load, batch))
            instances = [each for each in loaded if isinstance(each, LoadedInstance)]
            predictions = iter(_predict(predictor, instances))
            for file, each in zip(batch, loaded, strict=True):
                if isinstance(each, LoadedInstance):
                    analysis = _conclude(predictor.model, file, each, next(predictions), folder)
                else:
                    analysis = _conclude(predictor.model, file, None, each, folder)
                yield _with_json(folder, analysis)


def _load(
    reader: Reader, convert: Callable[[Path], Dataset], file: Path, *, is_shown: bool
) -> LoadedInstance | Exception:
    """Load a file, and its picture if it is shown, or return the error; no content raises here."""
    try:
        instance = _load_kind(reader, convert, file)
        if is_shown:
            _ = instance.shown.picture  # read here, in a thread of several; it is kept
    except Exception as exc:  # noqa: BLE001 -- one bad file must not stop the others
        return exc
    return instance


def _load_kind(reader: Reader, convert: Callable[[Path], Dataset], file: Path) -> LoadedInstance:
    kind = _kind_of(file)
    if kind in {"png", "jpeg"}:
        return load_with(reader, file, convert(file))
    if kind is None and not _is_bare_data_set(file):
        raise PictureError("The file is neither DICOM nor PNG nor JPEG.")
    _require_whole(file)
    return read(reader, file)


def _kind_of(file: Path) -> Literal["dicom", "png", "jpeg"] | None:
    if file.is_fifo() or file.is_char_device():
        raise PictureError("It cannot be read twice: save it as a file first.")
    with file.open("rb") as stream:
        return kind_of(stream.read(SNIFFED_BYTES))


def _require_whole(file: Path) -> None:
    """Require that the pixel data is complete, as the listener does.

    Raises:
        NotAnalysable: the file is cut off. pydicom would only warn and leave the pixels out.
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
        return  # no preamble, or no such syntax: reading it reports that


def _is_bare_data_set(file: Path) -> bool:
    """Return whether a file without a preamble is a DICOM data set nonetheless."""
    try:
        return "SOPClassUID" in dcmread(file, force=True, specific_tags=["SOPClassUID"])
    except Exception:  # noqa: BLE001 -- arbitrary bytes make pydicom raise many kinds
        return False


def _predict(
    predictor: Predictor, instances: Sequence[LoadedInstance]
) -> list[Prediction | Exception]:
    """Predict a batch at once, or one by one if that fails, so that one fails alone.

    Returns:
        For each instance a prediction, a refusal (NotAnalysable) or the error, in their order.
    """
    try:
        inputs = [each.prepared.tensor for each in instances]
        return [*predictor.predict(inputs, [each.age_years for each in instances])]
    except Exception as exc:  # noqa: BLE001 -- a model may raise anything
        if len(instances) == 1:
            return [exc]
    return [_predict(predictor, [each])[0] for each in instances]


def _conclude(
    model: Model,
    file: Path,
    instance: LoadedInstance | None,
    result: Prediction | Exception,
    folder: OutputFolder | None,
) -> Analysis:
    """Build a file's analysis from its prediction or error, and write the outputs."""
    if not isinstance(result, Prediction | NotAnalysable):
        return _failed(file, _explain(result, was_loaded=instance is not None))
    try:
        outputs = [] if folder is None else _write(model, file, instance, result, folder)
    except ReportError as exc:
        return _failed(file, str(exc))
    except OSError as exc:
        return _failed(file, f"The output cannot be written: {exc.strerror}.")
    except Exception as exc:  # noqa: BLE001 -- one odd header must not stop the others
        return _failed(file, f"No report could be made ({type(exc).__name__}).")
    if isinstance(result, Prediction):
        return analysed(file, result, outputs)
    return Analysis(
        file=str(file),
        outcome="not_analysed",
        reason=result.reason,
        population=result.population,
        outputs=outputs,
    )


def _write(
    model: Model,
    file: Path,
    instance: LoadedInstance | None,
    result: Prediction | NotAnalysable,
    folder: OutputFolder,
) -> list[str]:
    if isinstance(result, NotAnalysable):
        shown = None if instance is None else instance.shown
        return folder.write_not_analysed(file, result, model, shown)
    return [] if instance is None else folder.write_prediction(file, instance, result)


def _with_json(folder: OutputFolder | None, analysis: Analysis) -> Analysis:
    """Write the analysis beside its outputs and return it with that file among them."""
    if folder is None:
        return analysis
    try:
        return folder.write_analysis(analysis)
    except OSError as exc:
        return _failed(Path(analysis.file), f"The output cannot be written: {exc.strerror}.")


def _explain(failure: Exception, *, was_loaded: bool) -> str:
    if was_loaded:
        return f"The model failed ({type(failure).__name__})."
    if isinstance(failure, PictureError):
        return str(failure)
    words = getattr(failure, "strerror", None) or type(failure).__name__
    return f"The file cannot be read: {words}."


def _failed(file: Path, reason: str) -> Analysis:
    return Analysis(file=str(file), outcome="failed", reason=reason)


def _print_table(analyses: Sequence[Analysis]) -> None:
    """Print a row for each file, and columns for what only some bundles read if any is there."""
    columns: dict[str, list[str | Text]] = {
        "file": [file_name(Path(each.file)) for each in analyses],
        "finding": [each.finding or each.outcome.replace("_", " ") for each in analyses],
        "probability": [_three_decimals(each.probability) for each in analyses],
        "other abnormality": [_other_text(each) for each in analyses],
        "population": [each.population or "" for each in analyses],
        "operating point": [each.operating_point or "" for each in analyses],
        "why not": [_explanation(each) for each in analyses],
    }
    shown = {
        name: column
        for name, column in columns.items()
        if name not in {"other abnormality", "population"} or any(column)
    }
    table = Table(*shown)
    for row in zip(*shown.values(), strict=True):
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print("Not a medical device: research use only.")


def _three_decimals(probability: float | None) -> str:
    return "" if probability is None else f"{probability:.3f}"


def _other_text(analysis: Analysis) -> str:
    other = analysis.other_abnormality
    return f"{other.finding} {_three_decimals(other.probability)}" if other else ""


def _explanation(analysis: Analysis) -> Text:
    reason = analysis.reason
    return Text(EXPLANATIONS.get(reason, reason) if reason else "")  # type: ignore[call-overload]
