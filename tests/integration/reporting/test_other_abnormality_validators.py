"""Outputs that state another abnormality, checked by dciodvfy, PixelMed, DCMTK and dsrdump."""

import dataclasses
import itertools
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from synthetic.report_sources import (
    NOW,
    OTHER_PROBABILITIES,
    PROBABILITIES,
    predicted,
    received,
    values,
)

from service.domain.routing import OutputKind
from workers.prediction import Finding, Prediction, Region
from workers.reporting.codes import FINDING_CODES
from workers.reporting.output import Output, as_comprehensive
from workers.reporting.outputs import make_outputs

PIXELS: Final = np.zeros((250, 205), dtype=np.float32)
REGION: Final = Region(top=0.25, left=0.125, bottom=0.5, right=0.375)
EVERY_TRIPLE: Final = tuple(itertools.product(Finding, Finding, (None, REGION)))
EACH_FINDING_ONCE: Final = (
    (Finding.PRESENT, Finding.ABSENT, REGION),
    (Finding.ABSENT, Finding.PRESENT, None),
    (Finding.INDETERMINATE, Finding.INDETERMINATE, None),
)
each_pair = pytest.mark.parametrize(
    ("pneumonia", "other"), tuple(itertools.product(Finding, Finding))
)


def prediction_of(pneumonia: Finding, other: Finding, region: Region | None) -> Prediction:
    return dataclasses.replace(
        predicted(pneumonia, other=other), region=region, population="children"
    )


def every_output(prediction: Prediction, **changes: bytes | None) -> list[Output]:
    """Build the outputs of every kind, and the Comprehensive SR of the report."""
    header = {**values("DX"), **changes}
    source = received({keyword: value for keyword, value in header.items() if value is not None})
    made = list(make_outputs(source, PIXELS, prediction, kinds=list(OutputKind), now=NOW))
    return [*made, as_comprehensive(made[0])]


def saved(output: Output, folder: Path) -> Path:
    path = folder / f"{output.sop_instance_uid}.dcm"
    path.write_bytes(output.encode())
    return path


@pytest.mark.dciodvfy
@each_pair
def test_dciodvfy_finds_no_error_in_any_output(
    pneumonia: Finding, other: Finding, dciodvfy: Callable[[Path], str], tmp_path: Path
) -> None:
    for region, rows in itertools.product((None, REGION), (True, False)):
        changes: dict[str, bytes | None] = {} if rows else {"Rows": None}
        for output in every_output(prediction_of(pneumonia, other, region), **changes):
            printed = dciodvfy(saved(output, tmp_path))
            assert printed.splitlines(), "dciodvfy names at least the IOD"
            assert [line for line in printed.splitlines() if line.startswith("Error")] == []


def reports_of(
    triples: Iterable[tuple[Finding, Finding, Region | None]], folder: Path
) -> Iterator[Path]:
    """Write the reports of these, and their Comprehensive SR, of a source with rows and without."""
    for number, (triple, rows) in enumerate(itertools.product(triples, (True, False))):
        changes: dict[str, bytes | None] = {} if rows else {"Rows": None}
        for output in every_output(prediction_of(*triple), **changes):
            if output.kind is OutputKind.SR:  # it has the same UID whatever the findings
                path = folder / f"{number}-{output.sop_class_uid}.dcm"
                path.write_bytes(output.encode())
                yield path


@pytest.mark.pixelmed
@pytest.mark.parametrize(
    "triples",
    [
        pytest.param(EACH_FINDING_ONCE, id="each finding once"),
        pytest.param(EVERY_TRIPLE, id="all", marks=pytest.mark.full),  # takes minutes
    ],
)
def test_pixelmed_finds_no_error_and_warns_only_of_the_free_names(
    triples: tuple[tuple[Finding, Finding, Region | None], ...],
    pixelmed_sr_validator: Callable[[Sequence[Path]], dict[Path, str]],
    tmp_path: Path,
) -> None:
    printed_of = pixelmed_sr_validator(list(reports_of(triples, tmp_path)))
    assert len(printed_of) == 2 * 2 * len(triples)
    for printed in printed_of.values():
        assert "Found Root Template TID_1500" in printed
        assert "IOD validation complete" in printed
        assert "Error" not in printed
        warnings = [line for line in printed.splitlines() if "Warning" in line]
        assert len(warnings) == 2
        for name, line in zip(("233604007", "abnormal-other"), warnings, strict=True):
            assert name in line
            assert line.endswith("Content Item not in template")


@pytest.mark.dcmtk
@each_pair
def test_dcmtk_reads_both_findings_and_both_numbers_back(
    pneumonia: Finding, other: Finding, program: Callable[[str], Path], tmp_path: Path
) -> None:
    (report, *_) = every_output(prediction_of(pneumonia, other, REGION))
    dumped = subprocess.run(
        [program("dsrdump"), "--print-all-codes", "--print-long-values", saved(report, tmp_path)],
        capture_output=True,
        encoding="latin-1",
        check=True,
    ).stdout
    read, read_other = FINDING_CODES[pneumonia], FINDING_CODES[other]
    for line in (
        f'CODE:(233604007,SCT,"Pneumonia")=({read.value},SCT,"{read.meaning}")',
        (
            'CODE:(abnormal-other,99LOBAR,"Abnormality other than pneumonia")='
            f'({read_other.value},SCT,"{read_other.meaning}")'
        ),
        f'"Certainty of Finding")="{100 * PROBABILITIES[pneumonia]:.1f}" (%,UCUM,"Percent")',
        f'"Other abnormality")="{100 * OTHER_PROBABILITIES[other]:.1f}" (%,UCUM,"Percent")',
        "Population: children",
    ):
        assert dumped.count(line) == 1


@pytest.mark.dcmtk
@each_pair
def test_dcmtks_checker_passes_a_presentation_state_of_two_lines(
    pneumonia: Finding, other: Finding, program: Callable[[str], Path], tmp_path: Path
) -> None:
    made = every_output(prediction_of(pneumonia, other, REGION))
    (state,) = (each for each in made if each.kind is OutputKind.GSPS)
    done = subprocess.run(
        [program("dcmpschk"), "--verbose", saved(state, tmp_path)],
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
    )
    assert "Test passed" in done.stdout + done.stderr
