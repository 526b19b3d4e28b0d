"""The whole matrix of sources and conclusions, judged by programs that others wrote.

dciodvfy judges every object. PixelMed's validator and the readers look at a report's content tree,
which is the same for many sources: they are given each tree once, and that it is the same is shown
byte for byte.
"""

import functools
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
from highdicom.sr import srread
from highdicom.sr.utils import find_content_items
from pydicom.datadict import dictionary_VR, tag_for_keyword
from support.report_matrix import CHARACTER_SETS, CONCLUSIONS, KINDS, WRONG, Case, cases
from synthetic.report_sources import NOW, value_fields

from service.domain.routing import OutputKind
from workers.prediction import Conclusion, NotAnalysed, Prediction
from workers.reporting.codes import NOT_ANALYSED_BECAUSE, PNEUMONIA, READING
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


def everything(case: Case, conclusion: Conclusion) -> list[Output]:
    """Make all that can be made, and the report's twin."""
    outputs = list(make_outputs(case.source, PIXELS, conclusion, kinds=list(OutputKind), now=NOW))
    return [*outputs, as_comprehensive(outputs[0])]


def errors(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("Error")]


def unexpected(case: Case, said: str) -> list[str]:
    """Leave out what is wrong in the source itself, which is carried as it is."""
    found = errors(said)
    if case.type_2 != "wrong":
        return found
    return [
        line
        for line in found
        if not {"".join(tag) for tag in re.findall(r"\(([0-9a-f]{4}),([0-9a-f]{4})\)", line)[-1:]}
        <= ALSO_WRONG
    ]


@pytest.mark.dciodvfy
@pytest.mark.parametrize("conclusion", CONCLUSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_object_of_the_matrix_is_valid_the_sources_own_and_the_same_each_time(
    kind: str, conclusion: str, dciodvfy: Callable[[Path], str], tmp_path: Path
) -> None:
    def judge(written: tuple[Case, Output, Path]) -> tuple[Case, Output, str]:
        case, output, path = written
        return case, output, dciodvfy(path)

    judged: Counter[str] = Counter()
    with ThreadPoolExecutor(TWO_CORES) as pool:
        for case, output, said in pool.map(judge, saved(kind, conclusion, tmp_path)):
            assert said.splitlines(), "dciodvfy names at least the IOD"
            assert unexpected(case, said) == [], f"{output.kind} of {case}"
            judged[output.kind] += 1
    # a report has a twin, and where rows are unknown there is no presentation state
    assert judged == {"sr": 168, "overlay": 84, "pdf": 84, "gsps": 63}


def saved(kind: str, conclusion: str, folder: Path) -> Iterator[tuple[Case, Output, Path]]:
    for number, case in enumerate(cases(kind)):
        expected = inherited(case)
        again = everything(case, CONCLUSIONS[conclusion])
        for place, output in enumerate(everything(case, CONCLUSIONS[conclusion])):
            encoded = output.encode()
            assert encoded == again[place].encode(), f"{output.kind} of {case}"
            written = value_fields(encoded)
            assert {tag: written.get(tag, b"") for tag in expected} == expected, str(case)
            path = folder / f"{number}-{place}-{output.kind}.dcm"
            path.write_bytes(encoded)
            yield case, output, path


def inherited(case: Case) -> dict[int, bytes]:
    """Give what must stand in an object about this source: patient and study, byte for byte."""
    expected = {}
    for keyword in SHARED:
        tag, value = tag_for_keyword(keyword), case.header.get(keyword, b"")
        assert tag is not None
        padding = b"\x00" if dictionary_VR(keyword) == "UI" else b" "
        expected[tag] = value + padding * (len(value) % 2)
    return expected


@functools.cache
def trees(kind: str, conclusion: str) -> tuple[bytes, ...]:
    """Give a report for each different content tree."""
    found: dict[bytes, bytes] = {}
    for case in cases(kind):
        encoded = build_report(case.source, CONCLUSIONS[conclusion], now=NOW).encode()
        found.setdefault(value_fields(encoded)[CONTENT_SEQUENCE], encoded)
    return tuple(found.values())


@pytest.mark.pixelmed
def test_pixelmed_finds_no_error_in_any_tree_of_the_matrix(
    pixelmed_sr_validator: Callable[[Sequence[Path]], dict[Path, str]], tmp_path: Path
) -> None:
    roots = {}
    for kind, conclusion in TREES:
        for number, encoded in enumerate(trees(kind, conclusion)):
            path = tmp_path / f"{kind}-{conclusion}-{number}.dcm".replace(" ", "-")
            path.write_bytes(encoded)
            roots[path] = "TID_2000" if conclusion == "not analysed" else "TID_1500"
    assert len(roots) >= 2 * len(TREES), "rows are known or not, at least"
    for path, said in pixelmed_sr_validator(list(roots)).items():
        assert f"Found Root Template {roots[path]}" in said, path.name
        assert "IOD validation complete" in said, path.name
        assert "Error" not in said, f"{path.name}: {said}"


@pytest.mark.pixelmed
def test_pixelmed_finds_no_error_in_the_twin_of_any_conclusion(
    pixelmed_sr_validator: Callable[[Sequence[Path]], dict[Path, str]], tmp_path: Path
) -> None:
    case = next(cases("DX"))
    paths = []
    for number, conclusion in enumerate(CONCLUSIONS.values()):
        paths.append(tmp_path / f"{number}.dcm")
        twin = as_comprehensive(build_report(case.source, conclusion, now=NOW))
        paths[-1].write_bytes(twin.encode())
    for said in pixelmed_sr_validator(paths).values():
        assert "Found ComprehensiveSR IOD" in said
        assert "IOD validation complete" in said
        assert "Error" not in said


@pytest.mark.pixelmed
def test_pixelmed_reads_reports_in_every_character_set(
    pixelmed_sr_validator: Callable[[Sequence[Path]], dict[Path, str]], tmp_path: Path
) -> None:
    paths = []
    chosen = {each.character_set: each for each in cases("DX") if each.type_2 == "complete"}
    for number, case in enumerate(chosen.values()):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(build_report(case.source, CONCLUSIONS["present"], now=NOW).encode())
    assert len(paths) == len(CHARACTER_SETS)
    for said in pixelmed_sr_validator(paths).values():
        assert "IOD validation complete" in said
        assert "Error" not in said


@pytest.mark.parametrize("conclusion", CONCLUSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_highdicom_reads_every_tree_back_to_the_same_content(kind: str, conclusion: str) -> None:
    concluded = CONCLUSIONS[conclusion]
    for encoded in trees(kind, conclusion):
        report = srread(BytesIO(encoded))
        if isinstance(concluded, NotAnalysed):
            (why,) = find_content_items(report, NOT_ANALYSED_BECAUSE, recursive=True)
            assert why.value.value == concluded.reason
            assert find_content_items(report, PNEUMONIA, recursive=True) == []
            assert find_content_items(report, value_type="NUM", recursive=True) == []
            continue
        (group,) = (
            *report.content.get_image_measurement_groups(),
            *report.content.get_planar_roi_measurement_groups(),
        )
        (reading,) = group.get_qualitative_evaluations(PNEUMONIA)
        (certainty,) = group.get_measurements()
        assert reading.value == READING[concluded.finding]
        assert certainty.value == round(100 * concluded.probability, 1)
        assert (group.finding_type is None) == (concluded.finding != "present")


@pytest.mark.dcmtk
@pytest.mark.parametrize("conclusion", CONCLUSIONS)
def test_dcmtk_reads_every_tree_back_to_the_same_content(
    conclusion: str, program: Callable[[str], Path], tmp_path: Path
) -> None:
    for kind in KINDS:
        for number, encoded in enumerate(trees(kind, conclusion)):
            path = tmp_path / f"{kind}-{number}.dcm"
            path.write_bytes(encoded)
            for line in expected_of(CONCLUSIONS[conclusion]):
                assert line in dumped(program("dsrdump"), path), f"{kind} {number}"


def expected_of(conclusion: Conclusion) -> list[str]:
    if isinstance(conclusion, Prediction):
        reading = READING[conclusion.finding]
        return [
            f'CODE:(233604007,SCT,"Pneumonia")=({reading.value},SCT,"{reading.meaning}")',
            f'"Certainty of Finding")="{100 * conclusion.probability:.1f}" (%,UCUM,"Percent")',
        ]
    return [
        '"Reason not analysed")=(not-a-chest-radiograph,99LOBAR,"Not a chest radiograph")',
        '(111245,DCM,"No algorithms succeeded; without findings")',
    ]


def dumped(dsrdump: Path, path: Path) -> str:
    """Give a report as DCMTK prints it, in UTF-8, with codes and whole values."""
    return subprocess.run(
        [dsrdump, "--print-all-codes", "--print-long-values", "--convert-to-utf8", path],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
    ).stdout
