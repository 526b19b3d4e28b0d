"""The content tree of a report as a page shows it, and of what is no report."""

import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from synthetic.report_sources import MODEL, NOW, predicted, radiograph

from service.dicom.encapsulated_pdf import pdf_of
from service.dicom.output_elements import UnreadableOutputError
from service.dicom.structured_report import (
    LARGEST_BYTES,
    MOST_ITEMS,
    ContentItem,
    StructuredReport,
    read_structured_report,
)
from service.domain.reasons import EXPLANATIONS, Reason
from service.domain.routing import OutputKind
from workers.prediction import Conclusion, NotAnalysed
from workers.reporting.output import Output
from workers.reporting.outputs import make_outputs

PIXELS = np.zeros((25, 20), dtype=np.float32)


def output(kind: OutputKind, conclusion: Conclusion) -> Output:
    (made,) = make_outputs(radiograph(), PIXELS, conclusion, kinds={kind}, now=NOW)
    return made


def kept(folder: Path, encoded: bytes) -> Path:
    path = folder / "kept.dcm"
    path.write_bytes(encoded)
    return path


def changed(folder: Path, dataset: Dataset) -> Path:
    path = folder / "changed.dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(path)
    return path


def every(item: ContentItem) -> Iterator[ContentItem]:
    yield item
    for child in item.children:
        yield from every(child)


def read(folder: Path, conclusion: Conclusion) -> StructuredReport:
    return read_structured_report(kept(folder, output(OutputKind.SR, conclusion).encode()))


def test_a_report_says_its_finding_its_probability_and_its_source(tmp_path: Path) -> None:
    report = read(tmp_path, predicted())
    assert report.root.name == "Imaging Measurement Report"
    assert (report.completion, report.verification) == ("COMPLETE", "UNVERIFIED")
    said = {item.name: item.value for item in every(report.root)}
    assert said["Pneumonia"].startswith("Present (")
    assert said["Certainty of Finding"] == "87.3 %"
    assert said["Algorithm Name"] == "lobar_pneumonia"
    assert any("Image Storage, " in item.value for item in every(report.root))
    assert any(item.value.startswith("POLYLINE, ") for item in every(report.root))


def test_a_report_of_an_instance_that_was_not_analysed_says_why(tmp_path: Path) -> None:
    report = read(tmp_path, NotAnalysed(reason=Reason.NOT_CHEST, model=MODEL))
    assert report.root.name == "Diagnostic Imaging Report"
    texts = " ".join(item.value for item in every(report.root))
    assert EXPLANATIONS[Reason.NOT_CHEST] in texts
    assert "Not a medical device" in texts


def test_items_are_numbered_as_references_name_them(tmp_path: Path) -> None:
    dataset = dcmread(kept(tmp_path, output(OutputKind.SR, predicted()).encode()))
    reference = Dataset()
    reference.RelationshipType = "INFERRED FROM"
    reference.ReferencedContentItemIdentifier = [1, 4, 1]
    dataset.ContentSequence[1].ContentSequence = Sequence([reference])
    root = read_structured_report(changed(tmp_path, dataset)).root
    (item,) = root.children[1].children
    assert (item.number, item.value, item.value_type) == ("1.2.1", "see 1.4.1", "")


def test_markup_and_other_alphabets_are_text(tmp_path: Path) -> None:
    dataset = dcmread(kept(tmp_path, output(OutputKind.SR, predicted()).encode()))
    dataset.SpecificCharacterSet = "ISO_IR 192"
    note, name = Dataset(), Dataset()
    note.ValueType, note.RelationshipType = "TEXT", "CONTAINS"
    note.TextValue = "<script>alert(1)</script> Öl & 山田"
    name.ValueType, name.RelationshipType, name.PersonName = "PNAME", "CONTAINS", "Müller^Jörg"
    dataset.ContentSequence.extend([note, name])
    last = read_structured_report(changed(tmp_path, dataset)).root.children[-2:]
    assert [item.value for item in last] == ["<script>alert(1)</script> Öl & 山田", "Müller^Jörg"]


def test_a_character_set_that_nobody_knows_leaves_the_ascii_legible(tmp_path: Path) -> None:
    dataset = dcmread(kept(tmp_path, output(OutputKind.SR, predicted()).encode()))
    dataset[0x00080005].value  # noqa: B018 -- decoded, so that the change below is the only one
    encoded = changed(tmp_path, dataset).read_bytes().replace(b"ISO_IR 100", b"ISO_XX 999")
    report = read_structured_report(kept(tmp_path, encoded))
    assert report.root.name == "Imaging Measurement Report"


def nested(levels: int) -> Dataset:
    root = Dataset()
    for _ in range(levels):
        outer = Dataset()
        outer.ValueType, outer.ContentSequence = "CONTAINER", Sequence([root])
        root = outer
    return root


def test_a_tree_without_an_end_in_sight_is_refused(tmp_path: Path) -> None:
    dataset = dcmread(kept(tmp_path, output(OutputKind.SR, predicted()).encode()))
    dataset.ContentSequence = Sequence([nested(100)])
    with pytest.raises(UnreadableOutputError, match="nested deeper"):
        read_structured_report(changed(tmp_path, dataset))


def test_more_items_than_a_report_has_are_refused(tmp_path: Path) -> None:
    dataset = dcmread(kept(tmp_path, output(OutputKind.SR, predicted()).encode()))
    dataset.ContentSequence = Sequence([nested(1) for _ in range(MOST_ITEMS // 2 + 1)])
    with pytest.raises(UnreadableOutputError, match="content items"):
        read_structured_report(changed(tmp_path, dataset))


def test_more_bytes_than_a_report_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableOutputError, match="more than 1,048,576 bytes"):
        read_structured_report(kept(tmp_path, b"\0" * (LARGEST_BYTES + 1)))


@pytest.mark.parametrize("content", [b"", b"%PDF-1.7", b"\0" * 128 + b"DICM", b"x" * 2000])
def test_what_is_no_dicom_file_is_refused(tmp_path: Path, content: bytes) -> None:
    for reader in (read_structured_report, pdf_of):
        with pytest.raises(UnreadableOutputError):
            reader(kept(tmp_path, content))


def test_another_kind_of_output_is_no_report(tmp_path: Path) -> None:
    overlay = kept(tmp_path, output(OutputKind.OVERLAY, predicted()).encode())
    with pytest.raises(UnreadableOutputError, match="not a Structured Report"):
        read_structured_report(overlay)
    with pytest.raises(UnreadableOutputError, match="no PDF"):
        pdf_of(overlay)


def test_damaged_reports_are_read_or_refused_and_never_fail(tmp_path: Path) -> None:
    whole = output(OutputKind.SR, predicted()).encode()
    chance = random.Random(13)
    outcomes = set()
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 12)):
            damaged[chance.randrange(132, len(damaged))] = chance.randrange(256)
        cut = chance.randrange(200, len(damaged)) if chance.random() < 0.3 else len(damaged)
        try:
            report = read_structured_report(kept(tmp_path, bytes(damaged[:cut])))
        except UnreadableOutputError:
            outcomes.add("refused")
        else:
            outcomes.add("read")
            assert all(isinstance(item.value, str) for item in every(report.root))
    assert outcomes == {"read", "refused"}


def test_the_page_is_what_was_encapsulated(tmp_path: Path) -> None:
    made = output(OutputKind.PDF, predicted())
    document = pdf_of(kept(tmp_path, made.encode()))
    assert document.startswith(b"%PDF-")
    assert bytes(made.dataset.EncapsulatedDocument)[: len(document)] == document
    assert len(document) == made.dataset.EncapsulatedDocumentLength
