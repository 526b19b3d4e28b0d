"""The matrix of sources and conclusions, checked with independent validators and readers.

The ordinary run takes the pairwise selection of `support.report_matrix`, the full run (`--full`)
the whole matrix as well: dciodvfy then checks 5,985 objects, a process for each. PixelMed's
validator and the readers look at a report's content tree, which is the same for many sources: they
get each tree once, and the objects' bytes show that it is the same.
"""

import dataclasses
import functools
import itertools
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from highdicom.sr import MeasurementReport, srread
from highdicom.sr.utils import find_content_items
from pydicom.datadict import dictionary_VR, tag_for_keyword
from support.report_matrix import (
    CHARACTER_SETS,
    CONCLUSIONS,
    KINDS,
    PROPERTIES,
    WRONG,
    Case,
    Selection,
    cases,
    matrix,
)
from synthetic.report_sources import NOW, value_fields

from service.domain.routing import OutputKind
from workers.prediction import Conclusion, NotAnalysed, Prediction
from workers.reporting.codes import FINDING_CODES, NOT_ANALYSED_BECAUSE, PNEUMONIA
from workers.reporting.header import INHERITED, TYPE_2
from workers.reporting.output import Output, as_comprehensive
from workers.reporting.outputs import make_outputs
from workers.reporting.sr.report import build_report

PIXELS: Final = np.linspace(0, 1, 64 * 52, dtype=np.float32).reshape(64, 52)
CONTENT_SEQUENCE: Final = 0x0040A730
TWO_CORES: Final = 2
SHARED: Final = (*TYPE_2, *INHERITED)
ALSO_WRONG: Final = {f"{tag_for_keyword(keyword):08x}" for keyword in WRONG}
TREES: Final = [(kind, conclusion) for kind in KINDS for conclusion in CONCLUSIONS]
SELECTIONS: Final = [Selection.PAIRWISE, pytest.param(Selection.WHOLE, marks=pytest.mark.full)]

both_selections = pytest.mark.parametrize("selection", SELECTIONS)
every_conclusion = pytest.mark.parametrize("conclusion", CONCLUSIONS)
every_kind = pytest.mark.parametrize("kind", KINDS)


def every_output(case: Case) -> list[Output]:
    """Build the outputs of every kind, and the Comprehensive SR of the report."""
    conclusion = CONCLUSIONS[case.conclusion]
    outputs = list(make_outputs(case.source, PIXELS, conclusion, kinds=list(OutputKind), now=NOW))
    return [*outputs, as_comprehensive(outputs[0])]


def errors(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if line.startswith("Error")]


def unexpected(case: Case, printed: str) -> list[str]:
    """Return the errors but for those of the source's own values, which are copied unchanged."""
    found = errors(printed)
    if case.type_2 != "wrong":
        return found
    return [
        line
        for line in found
        if not {"".join(tag) for tag in re.findall(r"\(([0-9a-f]{4}),([0-9a-f]{4})\)", line)[-1:]}
        <= ALSO_WRONG
    ]


def test_the_pairwise_selection_holds_every_pair_of_properties() -> None:
    wanted = {
        ((one, value), (other, another))
        for (one, values), (other, others) in itertools.combinations(PROPERTIES.items(), 2)
        for value in values
        for another in others
    }
    held = {
        pair
        for case in matrix(Selection.PAIRWISE)
        for pair in itertools.combinations(((each, getattr(case, each)) for each in PROPERTIES), 2)
    }
    assert held == wanted
    assert len(matrix(Selection.PAIRWISE)) <= 40, "35 are the fewest: 7 character sets x 5"


def test_the_whole_matrix_holds_every_combination_once() -> None:
    assert len(set(matrix(Selection.WHOLE))) == len(matrix(Selection.WHOLE)) == 3 * 4 * 7 * 3 * 5
    assert set(matrix(Selection.PAIRWISE)) <= set(matrix(Selection.WHOLE))


@pytest.mark.dciodvfy
@both_selections
@every_conclusion
@every_kind
def test_every_object_of_the_matrix_is_valid_the_sources_own_and_the_same_each_time(
    selection: Selection,
    kind: str,
    conclusion: str,
    dciodvfy: Callable[[Path], str],
    tmp_path: Path,
) -> None:
    def judge(written: tuple[Case, Output, Path]) -> tuple[Case, Output, str]:
        case, output, path = written
        return case, output, dciodvfy(path)

    chosen = cases(selection, kind, conclusion)
    judged: Counter[str] = Counter()
    with ThreadPoolExecutor(TWO_CORES) as pool:
        for case, output, printed in pool.map(judge, written_outputs(chosen, tmp_path)):
            assert printed.splitlines(), "dciodvfy names at least the IOD"
            assert unexpected(case, printed) == [], f"{output.kind} of {case}"
            judged[output.kind] += 1
    if selection is Selection.WHOLE:
        assert judged == {"sr": 168, "overlay": 84, "pdf": 84, "gsps": 63}
    # a report is also a Comprehensive SR, and without rows there is no presentation state
    count, with_rows = len(chosen), sum(case.variant != "odd" for case in chosen)
    assert count > 0
    assert judged == Counter(sr=2 * count, overlay=count, pdf=count, gsps=with_rows)


def written_outputs(chosen: Sequence[Case], folder: Path) -> Iterator[tuple[Case, Output, Path]]:
    """Write every output of these cases, each built twice and compared with its source."""
    for number, case in enumerate(chosen):
        expected = inherited(case)
        again = every_output(case)
        for place, output in enumerate(every_output(case)):
            encoded = output.encode()
            assert encoded == again[place].encode(), f"{output.kind} of {case}"
            written = value_fields(encoded)
            assert {tag: written.get(tag, b"") for tag in expected} == expected, str(case)
            path = folder / f"{number}-{place}-{output.kind}.dcm"
            path.write_bytes(encoded)
            yield case, output, path


def inherited(case: Case) -> dict[int, bytes]:
    """Return the patient and study elements that an output must have, value fields by tag."""
    expected, header = {}, case.header
    for keyword in SHARED:
        tag, value = tag_for_keyword(keyword), header.get(keyword, b"")
        assert tag is not None
        padding = b"\x00" if dictionary_VR(keyword) == "UI" else b" "
        expected[tag] = value + padding * (len(value) % 2)
    return expected


@functools.cache
def encoded_report(case: Case) -> bytes:
    return build_report(case.source, CONCLUSIONS[case.conclusion], now=NOW).encode()


def trees(selection: Selection, kind: str, conclusion: str) -> list[bytes]:
    """Return one encoded report for each different content tree.

    Its header is one that every reader understands: the tree depends neither on the character set
    nor on the Type 2 attributes, which is checked here for each case.
    """
    found: dict[bytes, bytes] = {}
    for case in cases(selection, kind, conclusion):
        plain = dataclasses.replace(case, character_set="ISO_IR 6", type_2="complete")
        encoded = encoded_report(plain)
        tree = value_fields(encoded)[CONTENT_SEQUENCE]
        assert value_fields(encoded_report(case))[CONTENT_SEQUENCE] == tree, str(case)
        found.setdefault(tree, encoded)
    return list(found.values())


@pytest.mark.pixelmed
@both_selections
def test_pixelmed_finds_no_error_in_any_tree_of_the_matrix(
    selection: Selection,
    pixelmed_sr_validator: Callable[[Sequence[Path]], dict[Path, str]],
    tmp_path: Path,
) -> None:
    roots = {}
    for kind, conclusion in TREES:
        for number, encoded in enumerate(trees(selection, kind, conclusion)):
            path = tmp_path / f"{kind}-{conclusion}-{number}.dcm".replace(" ", "-")
            path.write_bytes(encoded)
            roots[path] = "TID_2000" if conclusion == "not analysed" else "TID_1500"
    differing = {(case.kind, case.conclusion, case.variant == "odd") for case in matrix(selection)}
    assert len(roots) >= len(differing), "rows are known or not, at least"
    if selection is Selection.WHOLE:
        assert len(differing) == 2 * len(TREES)
    for path, printed in pixelmed_sr_validator(list(roots)).items():
        assert f"Found Root Template {roots[path]}" in printed, path.name
        assert "IOD validation complete" in printed, path.name
        assert "Error" not in printed, f"{path.name}: {printed}"


@pytest.mark.pixelmed
def test_pixelmed_finds_no_error_in_the_comprehensive_sr_of_any_conclusion(
    pixelmed_sr_validator: Callable[[Sequence[Path]], dict[Path, str]], tmp_path: Path
) -> None:
    source = cases(Selection.WHOLE, "DX", "present")[0].source
    paths = []
    for number, conclusion in enumerate(CONCLUSIONS.values()):
        paths.append(tmp_path / f"{number}.dcm")
        report = as_comprehensive(build_report(source, conclusion, now=NOW))
        paths[-1].write_bytes(report.encode())
    for printed in pixelmed_sr_validator(paths).values():
        assert "Found ComprehensiveSR IOD" in printed
        assert "IOD validation complete" in printed
        assert "Error" not in printed


@pytest.mark.pixelmed
def test_pixelmed_reads_reports_in_every_character_set(
    pixelmed_sr_validator: Callable[[Sequence[Path]], dict[Path, str]], tmp_path: Path
) -> None:
    paths = []
    every_set = cases(Selection.WHOLE, "DX", "present")
    chosen = {each.character_set: each for each in every_set if each.type_2 == "complete"}
    for number, case in enumerate(chosen.values()):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(build_report(case.source, CONCLUSIONS["present"], now=NOW).encode())
    assert len(paths) == len(CHARACTER_SETS)
    for printed in pixelmed_sr_validator(paths).values():
        assert "IOD validation complete" in printed
        assert "Error" not in printed


@both_selections
@every_conclusion
@every_kind
def test_highdicom_reads_every_tree_back_to_the_same_content(
    selection: Selection, kind: str, conclusion: str
) -> None:
    concluded = CONCLUSIONS[conclusion]
    for encoded in trees(selection, kind, conclusion):
        report = srread(BytesIO(encoded))
        if isinstance(concluded, NotAnalysed):
            (why,) = find_content_items(report, NOT_ANALYSED_BECAUSE, recursive=True)
            assert why.value.value == concluded.reason
            assert find_content_items(report, PNEUMONIA, recursive=True) == []
            assert find_content_items(report, value_type="NUM", recursive=True) == []
            continue
        assert isinstance(report.content, MeasurementReport)
        groups = [
            *report.content.get_image_measurement_groups(),
            *report.content.get_planar_roi_measurement_groups(),
        ]
        (group,) = groups
        (reading,) = group.get_qualitative_evaluations(PNEUMONIA)
        (certainty,) = group.get_measurements()
        assert reading.value == FINDING_CODES[concluded.finding]
        assert certainty.value == round(100 * concluded.probability, 1)
        assert (group.finding_type is None) == (concluded.finding != "present")


@pytest.mark.dcmtk
@both_selections
@every_conclusion
def test_dcmtk_reads_every_tree_back_to_the_same_content(
    selection: Selection, conclusion: str, program: Callable[[str], Path], tmp_path: Path
) -> None:
    for kind in KINDS:
        for number, encoded in enumerate(trees(selection, kind, conclusion)):
            path = tmp_path / f"{kind}-{number}.dcm"
            path.write_bytes(encoded)
            printed = dumped(program("dsrdump"), path)
            for line in expected_of(CONCLUSIONS[conclusion]):
                assert line in printed, f"{kind} {number}"


def expected_of(conclusion: Conclusion) -> list[str]:
    if isinstance(conclusion, Prediction):
        reading = FINDING_CODES[conclusion.finding]
        return [
            f'CODE:(233604007,SCT,"Pneumonia")=({reading.value},SCT,"{reading.meaning}")',
            f'"Certainty of Finding")="{100 * conclusion.probability:.1f}" (%,UCUM,"Percent")',
        ]
    return [
        '"Reason not analysed")=(not-a-chest-radiograph,99LOBAR,"Not a chest radiograph")',
        '(111245,DCM,"No algorithms succeeded; without findings")',
    ]


def dumped(dsrdump: Path, path: Path) -> str:
    """Return a report as DCMTK prints it, in UTF-8, with codes and whole values."""
    return subprocess.run(
        [dsrdump, "--print-all-codes", "--print-long-values", "--convert-to-utf8", path],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
    ).stdout
