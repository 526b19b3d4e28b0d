"""`lobar analyze` on files of every kind, with a stand-in for the bundle."""

import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage
from support.inference_worker import Pixels, StandInModelInput, StandInPredictor
from synthetic.objects import make_cr
from synthetic.pictures import chest
from synthetic.report_sources import MODEL, OTHER_PROBABILITIES, other_abnormality

from service.dicom.implementation import IMPLEMENTATION_CLASS_UID
from service.dicom.secondary_capture import wrap
from service.domain.reasons import Reason
from service.settings import BundleSettings, Settings
from workers.inference.predictor import Predictor
from workers.offline.analyze import (
    Analysis,
    OutputDirectoryError,
    _print_table,
    analyse,
    run_analyze,
)
from workers.offline.output_folder import OutputFolder
from workers.prediction import Finding, NotAnalysable, Region

SETTINGS = Settings()


class PicturePredictor(StandInPredictor):
    """The stand-in, for pictures too: the real one is given both."""

    def read(self, path: Path) -> StandInModelInput:
        if path.suffix in {".png", ".jpeg"}:
            return super().read(saved(path.with_suffix(".wrapped"), wrap(path)))
        return super().read(path)

    def picture(self, path: Path) -> Pixels:
        if path.suffix in {".png", ".jpeg"}:
            return super().picture(saved(path.with_suffix(".wrapped"), wrap(path)))
        return super().picture(path)


def saved(path: Path, dataset: Dataset | None = None) -> Path:
    (dataset or make_cr(rows=100, columns=90)).save_as(path, enforce_file_format=True)
    return path


def to(folder: Path) -> OutputFolder:
    return OutputFolder(folder, now=datetime.now(tz=UTC))


def analyse_with(
    predictor: StandInPredictor, files: Sequence[Path], folder: OutputFolder | None = None
) -> Iterator[Analysis]:
    return analyse(SETTINGS, cast("Predictor", predictor), files, folder)


def one(file: Path, predictor: StandInPredictor | None = None, out: Path | None = None) -> Analysis:
    folder = None if out is None else to(out)
    (analysis,) = analyse_with(predictor or PicturePredictor(), [file], folder)
    return analysis


def test_many_files_share_forward_passes_and_come_back_in_order(tmp_path: Path) -> None:
    files = [saved(tmp_path / f"{number}.dcm") for number in range(10)]
    predictor = StandInPredictor()
    analyses = list(analyse_with(predictor, files))
    assert [each.file for each in analyses] == [str(file) for file in files]
    assert {each.outcome for each in analyses} == {"analysed"}
    assert predictor.batches == [8, 2]


def test_the_model_is_given_each_patients_age_together_and_alone_and_a_picture_has_none(
    tmp_path: Path,
) -> None:
    picture = tmp_path / "b.png"
    Image.fromarray(chest(100, 90, 8).astype("uint8")).save(picture)
    old = make_cr(rows=100, columns=90, birth_date="19700101")
    files = [saved(tmp_path / "a.dcm", old), picture, saved(tmp_path / "c.dcm")]

    def fail_together(batch: list[Pixels]) -> None:
        if len(batch) > 1:
            raise RuntimeError

    predictor = PicturePredictor(on_predict=fail_together)
    assert {each.outcome for each in analyse_with(predictor, files)} == {"analysed"}
    ages = [age and int(age) for age in predictor.ages]
    assert ages == 2 * [56, None, 3]


def test_a_file_that_breaks_the_forward_pass_fails_alone(tmp_path: Path) -> None:
    files = [saved(tmp_path / f"{n}.dcm") for n in range(3)]
    saved(files[1], make_cr(rows=160, columns=80))

    def fail_on_the_tall(batch: list[Pixels]) -> None:
        if any(each.shape[1] == 20 for each in batch):
            raise RuntimeError

    analyses = list(analyse_with(StandInPredictor(on_predict=fail_on_the_tall), files))
    assert [each.outcome for each in analyses] == ["analysed", "failed", "analysed"]
    assert analyses[1].reason == "The model failed (RuntimeError)."


def test_a_number_that_is_no_probability_is_a_failure_and_not_an_absence(tmp_path: Path) -> None:
    def spoil(batch: list[Pixels]) -> None:
        for each in batch:
            each.fill(float("nan"))

    analysis = one(saved(tmp_path / "a.dcm"), StandInPredictor(on_predict=spoil))
    assert (analysis.outcome, analysis.finding) == ("failed", None)
    assert json.dumps(analysis.probability) == "null"


def test_a_header_that_no_report_can_be_made_of_fails_alone(tmp_path: Path) -> None:
    broken = make_cr(rows=100, columns=90)
    del broken.StudyInstanceUID
    files = [saved(tmp_path / "broken.dcm", broken), saved(tmp_path / "good.dcm")]
    analyses = list(analyse_with(StandInPredictor(), files, to(tmp_path)))
    assert [each.outcome for each in analyses] == ["failed", "analysed"]
    assert analyses[0].reason


def test_pictures_are_taken_as_they_are(tmp_path: Path) -> None:
    picture = Image.fromarray(chest(100, 90, 8).astype("uint8"))
    picture.save(tmp_path / "chest.png")
    picture.save(tmp_path / "chest.jpeg", quality=95)
    for name in ("chest.png", "chest.jpeg"):
        analysis = one(tmp_path / name)
        assert (analysis.outcome, analysis.operating_point) == ("analysed", "balanced")


def test_files_that_cannot_be_read_have_distinct_reasons(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        archive.writestr("a.dcm", b"DICM")
    (tmp_path / "page.html").write_text("<html></html>")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "words.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 100)
    os.mkfifo(tmp_path / "pipe.dcm")
    reasons = {}
    for name in ("study.zip", "page.html", "empty.dcm", "folder", "missing.dcm", "pipe.dcm"):
        analysis = one(tmp_path / name)
        assert analysis.outcome == "failed", name
        reasons[name] = analysis.reason
    assert reasons == {
        "study.zip": "The file is neither DICOM nor PNG nor JPEG.",
        "page.html": "The file is neither DICOM nor PNG nor JPEG.",
        "empty.dcm": "The file is neither DICOM nor PNG nor JPEG.",
        "folder": "The file cannot be read: Is a directory.",
        "missing.dcm": "The file cannot be read: No such file or directory.",
        "pipe.dcm": "It cannot be read twice: save it as a file first.",
    }
    assert one(Path("/dev/zero")).outcome == "failed"
    assert one(tmp_path / "words.dcm").outcome in {"failed", "not_analysed"}


def test_an_instance_out_of_scope_is_not_analysed_for_a_coded_reason(tmp_path: Path) -> None:
    lateral = make_cr()
    lateral.ViewPosition = "LL"
    analysis = one(saved(tmp_path / "lateral.dcm", lateral))
    assert (analysis.outcome, analysis.reason) == ("not_analysed", "view-out-of-scope")
    assert analysis.outputs == []


class JudgingPredictor(PicturePredictor):
    """The stand-in, refusing what is tall after the network and naming a region of the rest."""

    def predict(
        self, prepared: list[Pixels], ages: list[float | None] | None = None
    ) -> list[Any]:  # refusals too, as `Predictor`'s
        region = Region(top=1 / 3, left=0, bottom=0.5, right=2 / 3)
        return [
            NotAnalysable(Reason.LATERAL)
            if each.shape[1] == 20
            else replace(prediction, region=region)
            for each, prediction in zip(prepared, super().predict(prepared, ages), strict=True)
        ]


def test_an_instance_refused_after_the_network_is_not_analysed_and_the_others_are(
    tmp_path: Path,
) -> None:
    files = [saved(tmp_path / f"{n}.dcm") for n in range(3)]
    saved(files[1], make_cr(rows=160, columns=80))
    predictor = JudgingPredictor()
    analyses = list(analyse_with(predictor, files, to(tmp_path)))
    assert [each.outcome for each in analyses] == ["analysed", "not_analysed", "analysed"]
    assert predictor.batches == [3]  # a refusal is no failure: nothing is predicted again
    refused = analyses[1]
    assert (refused.reason, refused.probability, refused.region) == ("lateral-view", None, None)
    assert [Path(each).name.split(".", 2)[2] for each in refused.outputs] == [
        "sr.dcm",
        "overlay.dcm",
        "pdf",
        "json",
    ]
    assert "lateral-view" in dcmread(refused.outputs[0]).to_json()
    assert all(len(each.outputs) == 4 for each in (analyses[0], analyses[2]))


def test_a_region_is_printed_as_four_fractions_and_none_as_null(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [saved(tmp_path / "a.dcm")]
    for predictor, region in (
        (JudgingPredictor(), [0.3333, 0, 0.5, 0.6667]),
        (PicturePredictor(), None),
    ):

        def load(_: BundleSettings, given: StandInPredictor = predictor) -> Predictor:
            return cast("Predictor", given)

        status = run_analyze(SETTINGS, files, output=None, as_json=True, load=load)
        assert status == 0
        assert json.loads(capsys.readouterr().out)["region"] == region


@pytest.mark.parametrize("other", list(Finding))
def test_another_abnormality_is_printed_with_its_thresholds_and_a_population_by_name(
    tmp_path: Path, other: Finding
) -> None:
    predictor = PicturePredictor(other=other_abnormality(other), population="adults")
    analysis = one(saved(tmp_path / "a.dcm"), predictor, tmp_path)
    printed = json.loads(json.dumps(asdict(analysis)))
    assert printed["other_abnormality"] == {
        "finding": other,
        "probability": OTHER_PROBABILITIES[other],
        "operating_point": "balanced",
        "threshold": 0.62,
        "indeterminate": [0.55, 0.7],
    }
    assert printed["population"] == "adults"
    assert json.loads(by_ending(analysis)["json"].read_text()) == printed


def test_a_refusal_for_the_patients_population_names_it(tmp_path: Path) -> None:
    class ValidatedForNobody(StandInPredictor):
        """The stand-in, refusing every patient as one of a population it is not validated for."""

        def predict(self, prepared: list[Pixels], *_: object) -> list[Any]:
            return [NotAnalysable(Reason.NOT_CHEST, population="infants") for _ in prepared]

    analysis = one(saved(tmp_path / "a.dcm"), ValidatedForNobody())
    assert (analysis.outcome, analysis.population) == ("not_analysed", "infants")
    assert analysis.other_abnormality is None


def test_a_table_has_a_column_for_what_only_some_bundles_read_where_it_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    file = saved(tmp_path / "a.dcm")
    _print_table([one(file)])
    plain = capsys.readouterr().out
    assert "other abnormality" not in plain
    assert "population" not in plain
    abnormal = PicturePredictor(other=other_abnormality(Finding.PRESENT), population="adults")
    _print_table([one(file, abnormal), one(file)])
    shown = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines()]
    assert "other abnormality" in shown
    first, second = (row[3:5] for row in rows if row)
    assert first == ["present 0.912", "adults"]
    assert second == ["", ""]


def test_the_outputs_of_files_of_one_name_stand_side_by_side(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    files = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        files.append(saved(tmp_path / folder / "chest.dcm"))
    analyses = list(analyse_with(StandInPredictor(), files, to(out)))
    written = [path for each in analyses for path in each.outputs]
    assert sorted(written) == sorted(str(path) for path in out.iterdir())
    assert len(set(written)) == 8
    objects = [path for path in written if path.endswith(".dcm")]
    assert sorted(dcmread(path).Modality for path in objects) == ["OT", "OT", "SR", "SR"]


def by_ending(analysis: Analysis) -> dict[str, Path]:
    return {Path(each).name.split(".", 2)[2]: Path(each) for each in analysis.outputs}


def test_a_radiograph_gets_its_analysis_a_report_an_overlay_and_a_page(tmp_path: Path) -> None:
    file = saved(tmp_path / "chest.dcm")
    analysis = one(file, out=tmp_path)
    written = by_ending(analysis)
    assert written.keys() == {"sr.dcm", "overlay.dcm", "pdf", "json"}
    assert json.loads(written["json"].read_text()) == asdict(analysis)
    assert written["pdf"].read_bytes().startswith(b"%PDF-")
    source = dcmread(file)
    for ending in ("sr.dcm", "overlay.dcm"):
        made = dcmread(written[ending])
        assert made.StudyInstanceUID == source.StudyInstanceUID
        assert str(source.SOPInstanceUID) in made.to_json()
    assert (analysis.threshold, analysis.indeterminate) == (0.5, [0.4, 0.6])
    assert (analysis.calibrated, analysis.weights_sha256) == (True, MODEL.weights_sha256)


@pytest.mark.parametrize("suffix", [".png", ".jpeg"])
def test_a_picture_becomes_a_study_that_says_so_and_that_the_outputs_refer_to(
    tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"phone{suffix}"
    Image.fromarray(chest(200, 180, 8).astype("uint8")).save(file)
    out = tmp_path / "out"
    out.mkdir()
    written = by_ending(one(file, out=out))
    assert written.keys() == {"source.dcm", "sr.dcm", "overlay.dcm", "pdf", "json"}
    source = dcmread(written["source.dcm"])
    assert source.SOPClassUID == SecondaryCaptureImageStorage
    assert source.StudyDescription == "Picture file, not from a modality"
    for ending in ("sr.dcm", "overlay.dcm"):
        made = dcmread(written[ending])
        assert made.StudyInstanceUID == source.StudyInstanceUID
        assert str(source.SOPInstanceUID) in made.to_json()
        assert made.StudyDescription == source.StudyDescription


def test_a_second_run_over_the_same_files_leaves_no_second_set(tmp_path: Path) -> None:
    file = saved(tmp_path / "chest.dcm")
    out = tmp_path / "out"
    out.mkdir()
    first, second = one(file, out=out), one(file, out=out)
    assert first.outputs == second.outputs
    assert len(list(out.iterdir())) == 4


def test_of_our_own_result_only_the_reason_is_written(tmp_path: Path) -> None:
    mine = make_cr(rows=100, columns=90)
    mine.InstanceCreatorUID = IMPLEMENTATION_CLASS_UID
    analysis = one(saved(tmp_path / "mine.dcm", mine), out=tmp_path)
    assert (analysis.outcome, analysis.reason) == ("not_analysed", "own-result")
    assert by_ending(analysis).keys() == {"json"}


def test_a_file_that_failed_leaves_its_reason_in_the_folder(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no radiograph")
    analysis = one(file, out=tmp_path)
    (written,) = analysis.outputs
    assert json.loads(Path(written).read_text())["reason"] == analysis.reason


def test_an_output_that_cannot_be_written_fails_its_file(tmp_path: Path) -> None:
    analysis = one(saved(tmp_path / "a.dcm"), StandInPredictor(), tmp_path / "not made")
    assert analysis.outcome == "failed"
    assert analysis.reason == "The output cannot be written: No such file or directory."


def test_an_output_directory_that_is_a_file_is_refused_before_the_model_is_loaded(
    tmp_path: Path,
) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputDirectoryError, match=r"--output .*: File exists$"):
        run_analyze(SETTINGS, [tmp_path / "a.dcm"], output=tmp_path / "out", as_json=False)


@pytest.mark.parametrize("name", ["[red]a.dcm", "thorax[bold].dcm", "a\udcff.dcm"])
def test_a_table_shows_any_name_as_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    _print_table([Analysis(file=f"/data/{name}", outcome="failed", reason="Because [/b].")])
    shown = capsys.readouterr().out
    assert name.replace("\udcff", "�") in shown
    assert "[/b]." in shown


def test_an_error_while_a_refusal_is_written_fails_its_file_and_no_other(
    tmp_path: Path,
) -> None:
    class FailingFolder(OutputFolder):
        """A folder for which no report can be made of a header, by an unforeseen error."""

        def write_not_analysed(self, *_: object) -> list[str]:
            raise KeyError

    lateral = make_cr(rows=100, columns=90)
    lateral.ViewPosition = "LATERAL"
    files = [saved(tmp_path / "lateral.dcm", lateral), saved(tmp_path / "frontal.dcm")]
    unwritable = one(files[0], out=tmp_path / "not made")
    assert unwritable.outcome == "failed"
    assert unwritable.reason == "The output cannot be written: No such file or directory."

    failing = FailingFolder(tmp_path, now=datetime.now(tz=UTC))
    analyses = list(analyse_with(StandInPredictor(), files, failing))
    assert [each.outcome for each in analyses] == ["failed", "analysed"]
    assert analyses[0].reason == "No report could be made (KeyError)."
